"""The feature networks: the weights are the ones described, and the features see what is wrong with digits."""

import json
import os
import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from sparring.data import load
from sparring.data.pixels import to_float, to_uint8
from sparring.errors import SparringError
from sparring.metrics import (
    EXTRACTORS,
    LENET_FASHION_MNIST,
    LENET_FASHION_MNIST_2,
    LENET_MNIST,
    LENET_MNIST_2,
    RANDOM_CONV64,
    SMALLCONV_CIFAR10,
    SMALLCONV_CIFAR10_2,
    accuracy_on,
    class_histogram,
    data_driven,
    extractor,
    extractor_for,
    extractors,
    frechet_distance,
    kernel_distance,
    knows,
    load_pretrained,
    pixels_pca64,
    prdc,
    simclr64,
    total_variation,
)

WEIGHTS = resources.files("sparring.metrics") / "weights"


@pytest.fixture(scope="module")
def digits():
    """5,000 real digits in random order, none held out."""
    data = load("digits", held_out=0)
    return data.rows(torch.randperm(len(data), generator=torch.Generator().manual_seed(0)))


# The networks.


@pytest.mark.parametrize(
    ("name", "least"),
    [
        *[(LENET_MNIST, 0.99), (LENET_MNIST_2, 0.99), (LENET_FASHION_MNIST, 0.9), (LENET_FASHION_MNIST_2, 0.9)],
        *[(SMALLCONV_CIFAR10, 0.6), (SMALLCONV_CIFAR10_2, 0.6)],
    ],
)
def test_the_shipped_weights_are_the_ones_described(name, least):
    card = json.loads((WEIGHTS / f"{name}.json").read_text())
    lenet = extractor(name)
    assert lenet.digest == card["digest"] == extractors.digest_of(lenet.network)
    assert sum(weight.numel() for weight in lenet.network.parameters()) == card["parameters"]
    assert card["parameters"] == (111_498 if card["architecture"].startswith("SmallConv") else 118_346)
    assert (lenet.accuracy, lenet.classes) == (card["test_accuracy"], tuple(card["classes"]))
    assert lenet.accuracy >= least
    assert lenet.digest != extractor(name.removesuffix("-2")).digest or not name.endswith("-2")
    assert len((WEIGHTS / f"{name}.safetensors").read_bytes()) < 1_000_000


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_recorded_accuracy_is_measured_again(name, sparring_data):
    test = load(name, root=sparring_data).test
    lenet = extractor(f"lenet-{name}")
    assert lenet.classes == test.classes
    _, logits = lenet.features(test.images)
    accuracy = (logits.argmax(1) == test.labels).double().mean().item()
    assert accuracy == pytest.approx(lenet.accuracy, abs=1e-3)
    assert len(test) == 10_000


def test_lenet_reads_digits(digits):
    _, logits = extractor(LENET_MNIST).features(digits.images)
    assert (logits.argmax(1) == digits.labels).double().mean() > 0.99


def test_damaged_weights_are_refused(tmp_path, monkeypatch):
    folder = shutil.copytree(Path(os.fspath(WEIGHTS)), tmp_path / "weights")
    monkeypatch.setattr(extractors.resources, "files", lambda package: tmp_path)
    assert extractors.trained(LENET_MNIST).digest == extractor(LENET_MNIST).digest
    damaged = bytearray((folder / "lenet-mnist.safetensors").read_bytes())
    damaged[-1] ^= 1
    (folder / "lenet-mnist.safetensors").write_bytes(damaged)
    with pytest.raises(SparringError, match="not the published ones: reinstall sparring"):
        extractors.trained(LENET_MNIST)
    (folder / "lenet-mnist.safetensors").write_bytes(damaged[:1000])
    with pytest.raises(SparringError, match="cannot be read: reinstall sparring"):
        extractors.trained(LENET_MNIST)


def test_random_features_are_the_same_everywhere_and_leave_the_users_randomness_alone():
    before = torch.get_rng_state()
    again = extractors.random_conv64()
    extractors.trained(LENET_MNIST)
    assert torch.equal(before, torch.get_rng_state())
    assert again.digest == extractor(RANDOM_CONV64).digest
    assert again.digest.startswith("0afdbda4e4e88967")
    assert (again.classes, again.accuracy) == ((), None)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_every_extractor_takes_gray_and_color_of_any_size(name):
    network = extractor(name)
    for shape in [(3, 1, 28, 28), (2, 3, 64, 64), (1, 3, 16, 16), (5, 1, 32, 32)]:
        images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        features, logits = network.features(images)
        assert (features.shape[0], features.dtype) == (shape[0], torch.float32)
        assert features.shape[1] == (128 if "smallconv" in name else 64)
        assert features.isfinite().all()
        assert not features.requires_grad
        assert (logits is None) == (network.classes == ())
        assert logits is None or logits.shape == (shape[0], len(network.classes))


@pytest.mark.parametrize("name", EXTRACTORS)
def test_features_depend_on_the_image_only(name, digits, monkeypatch):
    images = digits.images[:50]
    features, _ = extractor(name).features(images)
    monkeypatch.setattr(extractors, "BATCH", 7)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.enable_grad():
        alone, _ = extractor(name).features(images.flip(0))
    torch.testing.assert_close(alone.flip(0), features, atol=1e-4, rtol=1e-4)
    # A gray image and the same one in three equal channels are the same image.
    color, _ = extractor(name).features(images.expand(-1, 3, -1, -1))
    torch.testing.assert_close(color, features, atol=1e-3, rtol=1e-3)
    assert (features.std(0) > 0).all(), "a silent feature"


def test_lenet_sees_luma_and_resizes_without_aliasing(digits):
    lenet = extractor(LENET_MNIST)
    red = torch.zeros(1, 3, 28, 28, dtype=torch.uint8)
    red[:, 0] = 200
    assert lenet.prepare(red).mean().item() == pytest.approx(0.299 * 200 / 127.5 - 1, abs=1e-4)
    # A fine checkerboard shrinks to gray; without antialiasing it would keep its contrast.
    board = (torch.arange(84)[:, None] + torch.arange(84)).remainder(2).mul(255).to(torch.uint8).expand(1, 1, 84, 84)
    assert lenet.prepare(board).std() < 0.1
    large = F.interpolate(digits.images[:500].float(), scale_factor=2, mode="bicubic").clamp(0, 255).to(torch.uint8)
    _, logits = lenet.features(large)
    assert (logits.argmax(1) == digits.labels[:500]).double().mean() > 0.98


def test_other_input_is_refused():
    lenet = extractor(LENET_MNIST)
    for shape, dtype in [((2, 1, 28, 28), torch.float32), ((2, 28, 28), torch.uint8), ((2, 4, 8, 8), torch.uint8)]:
        with pytest.raises(SparringError, match="takes images"):
            lenet.features(torch.zeros(shape, dtype=dtype))
    with pytest.raises(SparringError, match="N > 0"):
        lenet.features(torch.zeros(0, 1, 28, 28, dtype=torch.uint8))
    with pytest.raises(SparringError, match="did you mean 'lenet-mnist'"):
        extractor("lenet-mnits")


def test_images_get_the_extractor_that_recognizes_them(digits):
    def chosen(images, labels=digits.labels, classes=digits.classes):
        return extractor_for(images, labels, classes).name

    few = digits.images[::10]
    labels = digits.labels[::10]
    assert chosen(few, labels) == LENET_MNIST
    assert chosen(F.interpolate(few.float(), 32).byte().expand(-1, 3, -1, -1), labels) == LENET_MNIST
    threes = labels == 3
    assert chosen(few[threes], torch.zeros(int(threes.sum()), dtype=torch.long), ("3",)) == LENET_MNIST
    # Called like digits, and unlabeled or other images, or other classes.
    assert chosen(few, None) == RANDOM_CONV64
    assert chosen(few, labels, tuple("abcdefghij")) == RANDOM_CONV64
    assert chosen(few, labels.roll(1)) == RANDOM_CONV64
    assert chosen(255 - few.transpose(2, 3), labels) == RANDOM_CONV64
    assert accuracy_on(extractor(LENET_MNIST), few, labels.roll(1), digits.classes) < 0.3
    assert accuracy_on(extractor(LENET_MNIST), few, labels, tuple("abcdefghij")) is None
    assert not knows(extractor(LENET_MNIST), 0.21)


def test_clothes_are_recognized(sparring_data):
    test = load("fashion-mnist", root=sparring_data).test
    assert extractor_for(test.images[:500], test.labels[:500], test.classes).name == LENET_FASHION_MNIST


# Extractors made from the user's images, and brought by the user.


def test_pixels_are_seen_by_their_principal_components(digits):
    judge = pixels_pca64(digits.images[:1000])
    assert judge.digest == pixels_pca64(digits.images[:1000]).digest != pixels_pca64(digits.images[:900]).digest
    features, logits = judge.features(digits.images[:300])
    assert (features.shape, logits) == ((300, 64), None)
    # Components of float pixels, by numpy: the same distances.
    pixels = to_float(digits.images[:1000]).flatten(1).double().numpy()
    centered = pixels - pixels.mean(0)
    _, _, directions = np.linalg.svd(centered, full_matrices=False)
    theirs = torch.from_numpy(centered[:300] @ directions[:64].T)
    torch.testing.assert_close(
        torch.cdist(features, features), torch.cdist(theirs, theirs).float(), rtol=0.05, atol=0.3
    )
    assert judge.features(digits.images[:1].repeat(2, 1, 1, 1))[0].diff(dim=0).abs().max() == 0
    few = pixels_pca64(digits.images[:5])
    assert few.features(digits.images[:9])[0].shape == (9, 4)
    color = torch.randint(0, 256, (40, 3, 100, 100), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert pixels_pca64(color).size == 64
    with pytest.raises(SparringError, match="at least 2 images"):
        pixels_pca64(digits.images[:1])


@pytest.mark.slow
def test_a_self_taught_extractor_sees_more_than_pixels(digits, monkeypatch):
    monkeypatch.setattr(data_driven, "STEPS", 50)
    before = torch.get_rng_state()
    judge = simclr64(digits.images[:1000])
    assert torch.equal(before, torch.get_rng_state())
    features, logits = judge.features(digits.images[1000:3000])
    assert (features.shape, logits) == ((2000, 64), None)
    assert not features.requires_grad

    def alike(seen):
        """How often the nearest other digit is the same digit."""
        seen = (seen - seen.mean(0)) / seen.std(0)
        near = torch.cdist(seen, seen).fill_diagonal_(torch.inf).argmin(1)
        labels = digits.labels[1000:3000]
        return float((labels[near] == labels).double().mean())

    assert alike(features) > alike(pixels_pca64(digits.images[:1000]).features(digits.images[1000:3000])[0]) + 0.01
    with pytest.raises(SparringError, match="needs at least 32 images; got 20"):
        simclr64(digits.images[:20])


def test_weights_that_the_user_brings(tmp_path):
    timm = pytest.importorskip("timm", reason="timm is not installed: pip install 'sparring[extractors]'")
    for name, network, width in (
        ("dinov2", "vit_small_patch14_dinov2", 384),
        ("clip", "vit_base_patch32_clip_224", 768),
    ):
        torch.manual_seed(0)
        theirs = timm.create_model(network, pretrained=False, num_classes=0, img_size=224).eval()
        file = tmp_path / f"{name}.safetensors"
        safetensors.torch.save_file(theirs.state_dict(), file)
        judge = load_pretrained(name, file)
        images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        features, logits = judge.features(images)
        assert (features.shape, logits, judge.slow) == ((2, width), None, True)
        pixels = F.interpolate(images.float() / 255, (224, 224), mode="bilinear", antialias=True)
        mean, deviation = (torch.tensor(theirs.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
        with torch.no_grad():
            torch.testing.assert_close(features, theirs((pixels - mean) / deviation), rtol=1e-3, atol=1e-3)


def test_inception_is_torch_fidelitys(tmp_path):
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: None)
        patch.setattr(theirs.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        torch.manual_seed(0)
        network = theirs.FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"])
    file = tmp_path / "inception.safetensors"
    safetensors.torch.save_file(network.state_dict(), file)
    judge = load_pretrained("inception", file)
    images = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    features, _ = judge.features(images)
    assert features.shape == (1, 2048)
    torch.testing.assert_close(features, network(images)[0])


def test_files_that_are_no_weights_are_refused(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"PK not a tensor")
    with pytest.raises(SparringError, match=r"w.pth is not a safetensors file .a .pth can hold code."):
        load_pretrained("inception", tmp_path / "w.pth")
    with pytest.raises(SparringError, match=r"cannot read .*none.safetensors"):
        load_pretrained("inception", tmp_path / "none.safetensors")
    safetensors.torch.save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(SparringError, match="do not fit inception; it takes weights-inception"):
        load_pretrained("inception", tmp_path / "other.safetensors")
    with pytest.raises(SparringError, match="unknown extractor that takes a weights file 'clipp'"):
        load_pretrained("clipp", tmp_path / "other.safetensors")


# What the metrics answer to planted faults.

N = 1000


def blurred(images, sigma):
    reach = torch.arange(-4, 5).float()
    kernel = torch.exp(-(reach**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    x = F.conv2d(images.float(), kernel, padding=(0, 4))
    return F.conv2d(x, kernel.mT, padding=(4, 0)).round().clamp(0, 255).to(torch.uint8)


def noisy(images, sigma):
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1)) * sigma
    return to_uint8(to_float(images) + noise / 127.5)


@pytest.fixture(scope="module", params=[LENET_MNIST, LENET_MNIST_2, LENET_FASHION_MNIST, RANDOM_CONV64])
def judged(request, digits):
    """A function: images -> all metrics against the same 1,000 real digits; and two healthy sets' metrics."""
    network = extractor(request.param)
    real, real_logits = network.features(digits.images[:N])

    def judge(images):
        assert len(images) == N
        fake, logits = network.features(images)
        values = {"FD": frechet_distance(real=real, fake=fake), "KID": kernel_distance(real=real, fake=fake)}
        values |= prdc(real=real, fake=fake)._asdict()
        if logits is not None:
            counts = [part.argmax(1).bincount(minlength=10) for part in (real_logits, logits)]
            values["TV"] = total_variation(real=counts[0], fake=counts[1])
        return values

    pool = digits.rows(torch.arange(N, len(digits)))
    return judge, pool, judge(pool.images[:N])


def test_blur_and_noise_answer_in_proportion(judged):
    judge, pool, healthy = judged
    images = pool.images[:N]
    for fault, levels in [(blurred, (0.6, 0.9, 1.4)), (noisy, (20, 50, 100))]:
        steps = [healthy] + [judge(fault(images, level)) for level in levels]
        for name in ("FD", "KID"):
            values = [step[name] for step in steps]
            assert values == sorted(values), (fault.__name__, name, values)
            assert values[2] > 2.5 * max(values[0], 0.01), (fault.__name__, name, values)
        for name in ("recall", "coverage"):
            assert steps[3][name] < steps[0][name] - 0.05, (fault.__name__, name)


def test_missing_digits_answer_in_proportion(judged):
    judge, pool, healthy = judged
    steps = [healthy]
    for missing in (1, 3, 6):
        kept = pool.images[(pool.labels[:, None] != torch.arange(10 - missing, 10)).all(1)][:N]
        steps.append(judge(kept))
    for name, way in [("FD", 1), ("KID", 1), ("coverage", -1), ("recall", -1)]:
        values = [way * step[name] for step in steps]
        assert values[1:] == sorted(values[1:]), (name, values)
        assert values[3] > values[0] + 0.05, (name, values)
    # All that is made is real: precision does not see it.
    assert all(abs(step["precision"] - healthy["precision"]) < 0.05 for step in steps)


def test_a_missing_digit_is_named(digits):
    network = extractor(LENET_MNIST)
    real, fake = digits.images[:2000], digits.images[2000:][digits.labels[2000:] != 7]
    labels = [network.features(images)[1].argmax(1) for images in (real, fake)]
    rows = class_histogram(real=labels[0], fake=labels[1], classes=network.classes)
    assert [row.name for row in rows if row.high < 0.05 < row.real_share] == ["7"]
    counts = [part.bincount(minlength=10) for part in labels]
    assert total_variation(real=counts[0], fake=counts[1]) == pytest.approx(0.1, abs=0.04)


def test_few_images_again_and_again(judged):
    judge, pool, healthy = judged
    repeated = judge(pool.images[:50].repeat(N // 50, 1, 1, 1))
    assert repeated["FD"] > 3 * healthy["FD"]
    assert repeated["recall"] < 0.1
    assert repeated["coverage"] < healthy["coverage"] / 2
    assert repeated["precision"] > healthy["precision"] - 0.05


def test_copies_of_the_reference_look_too_good(judged, digits):
    judge, _, healthy = judged
    copies = judge(digits.images[:N])
    assert copies["FD"] < 1e-4 < healthy["FD"]
    assert (copies["precision"], copies["recall"], copies["coverage"]) == (1, 1, 1)
    assert healthy["coverage"] < 1
