"""Semi-supervised: which labels are known, weight norm set from data, the losses, and a task that few labels solve."""

from dataclasses import replace

import pytest
import torch
from helpers import two_tone, with_labels
from torch import nn
from toys import SHAPE, adam, images

from sparring.data.dataset import Dataset, Spec
from sparring.errors import SparringError
from sparring.networks.improved_gan import WeightNormLinear, generator, head, init_from_data, trunk
from sparring.recipes import RECIPES
from sparring.recipes.recipe import build_recipe, load_recipe, resolve_arguments
from sparring.referee import Referee
from sparring.systems.improved_gan import ImprovedGAN, real_logit


def ten_classes(count=400):
    data = images(count)
    return replace(data, labels=torch.arange(count) % 10, classes=tuple("abcdefghij"))


def test_as_many_labels_of_each_class_chosen_by_the_seed():
    data = ten_classes()
    few = data.labeled_subset(50, seed=1)
    assert few.labels.bincount().tolist() == [5] * 10
    assert torch.equal(few.images, data.labeled_subset(50, seed=1).images)
    assert not torch.equal(few.images, data.labeled_subset(50, seed=2).images)
    assert len(few.repeated(100)) == 100
    assert len(few.repeated(20)) == 50
    assert torch.equal(few.repeated(100).images[50:], few.images)


def test_too_many_labels_are_refused():
    with pytest.raises(SparringError, match="41 labeled images per class are needed, and class 'a' has 40"):
        ten_classes().labeled_subset(410, seed=0)
    with pytest.raises(SparringError, match="'toy' has no labels"):
        images().labeled_subset(10, seed=0)
    function = load_recipe("improved-gan", RECIPES)
    with pytest.raises(SparringError, match="--n-labeled 25 is not a multiple of the 10 classes"):
        build_recipe(function, Spec(1, 28, 28, tuple("0123456789")), resolve_arguments(function, {"n_labeled": 25}))


def test_parameters_are_those_of_the_published_networks():
    D, G = nn.Sequential(trunk((1, 28, 28)), head(10)), generator(100, (1, 28, 28))
    learned = {n: p.numel() for n, p in D.named_parameters()}
    assert sum(v for n, v in learned.items() if not n.endswith("scale")) == 1538760
    assert [v for n, v in learned.items() if n.endswith("scale")] == [10]
    assert sum(p.numel() for n, p in G.named_parameters() if not n.endswith("scale")) == 693784


def test_weight_norm_has_the_length_of_its_scale():
    layer = WeightNormLinear(7, 3, train_scale=True)
    with torch.no_grad():
        layer.scale.copy_(torch.tensor([1.0, 2.0, 5.0]))
    weight = layer(torch.eye(7)).T - layer.bias[:, None]
    torch.testing.assert_close(weight.norm(dim=1), layer.scale)
    with torch.no_grad():
        layer.direction.mul_(10)
    torch.testing.assert_close(layer(torch.eye(7)).T - layer.bias[:, None], weight)


def test_the_data_sets_scales_and_biases():
    D = nn.Sequential(*trunk(SHAPE), *head(4)).eval()  # without noise every pre-activation can be seen
    x = torch.randn(200, *SHAPE)
    init_from_data(D, x)
    h = x
    for layer in D:
        h = layer(h)
        if isinstance(layer, WeightNormLinear):
            torch.testing.assert_close(h.mean(0), torch.zeros(h.shape[1]), atol=1e-4, rtol=0)
            torch.testing.assert_close(h.std(0, correction=0), torch.ones(h.shape[1]), atol=1e-3, rtol=0)


def small(seed=0):
    torch.manual_seed(seed)
    return ImprovedGAN(generator(5, SHAPE, 32), trunk(SHAPE), head(2), latent_dim=5)


def referee(system, few, every, **options):
    return Referee(
        system,
        {"labeled": few, "unlabeled": every},
        batch=16,
        optimizers={player: adam(3e-3) for player in system.players},
        precision="fp32",
        **options,
    )


def test_the_losses_are_those_of_the_paper():
    """Salimans et al. 2016, section 5, with an explicit class "generated" whose logit is 0."""
    system = small().eval()  # no noise, no batch statistics: the round can be computed twice
    data = with_labels(two_tone())
    batches = {"labeled": (torch.randn(4, *SHAPE), torch.tensor([0, 1, 1, 0])), "unlabeled": None}
    batches["unlabeled"] = (data.images[:4].float() / 127.5 - 1, None)
    torch.manual_seed(5)
    moves = list(system.round(lambda stream: batches[stream]))
    torch.manual_seed(5)
    fake = system.G(system.noise(4))
    x, y = batches["labeled"]
    u = batches["unlabeled"][0]

    def with_generated(images):
        logits = system.D(system.T(images))
        return torch.cat([logits, torch.zeros(len(logits), 1)], 1).log_softmax(1)

    known = -system.D(system.T(x)).log_softmax(1)[torch.arange(4), y].mean()
    is_real = (1 - with_generated(u)[:, 2].exp()).log().mean()
    is_made = with_generated(fake)[:, 2].mean()
    torch.testing.assert_close(moves[0].loss, known - (is_real + is_made) / 2)
    wanted = system.T(u).mean(0)
    offered = system.T(system.G(system.noise(4))).mean(0)
    torch.testing.assert_close(moves[1].loss, (wanted - offered).square().mean())
    torch.testing.assert_close(real_logit(torch.zeros(1, 4)), torch.tensor([4.0]).log())


def test_two_labels_are_enough_for_two_tones():
    data = with_labels(two_tone())
    system = small()
    init_from_data([*system.T, *system.D], data.images.float() / 127.5 - 1)
    judge = referee(system, data.labeled_subset(2, seed=0).repeated(16), data, ema_decay=0.9)
    for _ in range(60):
        judge.play()
    shown = judge.ema_system
    wrong = shown.classify(data.images.float() / 127.5 - 1).argmax(1) != data.labels
    assert float(wrong.float().mean()) < 0.02
    assert shown.sample(3).shape == (3, *SHAPE)
    assert shown.score(data.images[:5].float() / 127.5 - 1).shape == (5,)


def test_an_exam_is_held_while_training(tmp_path):
    import sparring

    pixels = torch.randint(0, 256, (200, 1, 28, 28), dtype=torch.uint8)
    data = Dataset("toy", pixels, torch.arange(200) % 10, tuple("0123456789")).hold_out(0.3)
    run = sparring.train("improved-gan", data, rounds=2, n_labeled=10, batch=10, eval_every=1, out=tmp_path, quiet=True)
    assert run.config["precision"] == "float32"  # as the recipe asks, whatever the hardware
    exams = [m for m in run.read("metrics") if m["name"] == "classification error"]
    assert [m["round"] for m in exams] == [0, 1, 2]
    assert exams[0]["n"] == 60
    page = sparring.report(run, data=data).read_text()
    assert "of 60 held-out images are misclassified" in page
    result = sparring.evaluate(run.system(), data, n=50, repeats=2)
    assert result.others[0].name == "classification error"
    assert result.others[0].n == 60
