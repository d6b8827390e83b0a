"""Every public function of tensors and numbers answers what it is given with a result or one line."""

import inspect
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sparring import image_grid, latent, losses, metrics, priors
from sparring.data.dataset import Dataset
from sparring.errors import SparringError, abbreviated

TEXTS = ("", "x", "²", "a\0b", "\udcff")
NUMBERS = (0, 1, 3, -1, 10**20, 2.5, -math.inf, math.inf, math.nan, np.int64(3), np.float32(0.5))
OTHERS = (
    None,
    True,
    [],
    {},
    (1, 2),
    [math.nan],
    object(),
    int,
    b"\xff",
    np.zeros((3, 3)),
    torch.zeros(2, 0),
    torch.tensor(1.0),
)
ANYTHING = (*TEXTS, *NUMBERS, *OTHERS)


def variants(x):
    """What is nearly right in the place of a tensor."""
    yield from (x[:0], x[:1], x[:2], x.flatten(), x[None], x[..., None], x[..., :-1], x[..., :0], x.transpose(0, -1))
    yield from (x.bool(), x.long(), x.float(), x.double(), x.half(), x.to(torch.uint8), -x.float(), 1e30 * x.double())
    yield from (x.numpy(), x.tolist(), x.to(torch.complex64), x.to_sparse(), x.to("meta"), torch.cat([x, x]))
    if x.is_floating_point():
        broken = x.clone()
        broken.view(-1)[0] = math.nan
        yield broken
        yield broken.nan_to_num(math.inf)


@pytest.fixture(scope="module")
def system():
    from sparring.data.dataset import Spec
    from sparring.recipes import RECIPES
    from sparring.recipes.recipe import build_recipe, load_recipe, resolve_arguments

    function = load_recipe("vae", RECIPES)
    with torch.random.fork_rng():
        return build_recipe(
            function, Spec(1, 28, 28, ("a", "b")), resolve_arguments(function, {"latent_dim": 3})
        ).system.eval()


def calls(system):
    """Function -> arguments that are right."""
    g = torch.Generator().manual_seed(0)
    real, fake, third = (torch.randn(n, 2, generator=g) for n in (20, 20, 20))
    images = torch.randint(256, (40, 1, 28, 28), generator=g, dtype=torch.uint8)
    floats, counts = images[:3, :, :12, :12] / 127.5 - 1, torch.tensor([3, 0, 5])
    labels, classes = torch.arange(40) % 2, ("a", "b")
    judge, decoder = metrics.extractor(metrics.RANDOM_CONV64), latent.latent_decoder(system)
    data = Dataset("toy", images, labels, classes)
    spectrum = metrics.power_spectrum(floats)
    codes = torch.randn(20, 3, generator=g)
    factors, digits = torch.arange(40).view(20, 2) % 3, images[:4] / 127.5 - 1
    layer = latent.default_layer(latent.layers(system, digits), 28)
    way = latent.Direction("x", torch.tensor([1.0, 0, 0]), 1.0, "")
    both = {"real": real, "fake": fake}
    histograms = {"real": counts, "fake": counts.flip(0)}
    return {
        metrics.accuracy_on: {"extractor": judge, "images": images, "labels": labels, "classes": classes},
        metrics.active_units: {"codes": codes},
        metrics.authenticity: {"train": real, "fake": fake},
        metrics.blur_ratio: {"real": real[:, 0].abs(), "fake": fake[:, 0].abs(), "paired": True},
        metrics.load_pretrained: {"name": "inception", "file": "nowhere.safetensors"},
        metrics.bin_z: histograms,
        metrics.chi_square_p: histograms,
        metrics.class_histogram: {"real": labels, "fake": labels, "classes": classes},
        metrics.classifier_test: {**both, "seed": 0},
        metrics.ndb: {**histograms, "beyond": 3.0},
        metrics.duplicate_threshold: {"sets": real, "share": 0.001},
        metrics.duplicates: {"fake": fake, "within": 0.1},
        metrics.laplacian_variance: {"images": floats},
        metrics.effective_support: {"pairs": 3, "n": 20, "sets": 2},
        metrics.energy_distance: both,
        metrics.nearest_train_test: {"train": real, "held_out": third, "fake": fake},
        metrics.extractor: {"name": metrics.RANDOM_CONV64},
        metrics.extractor_for: {"images": images, "labels": labels, "classes": classes},
        metrics.fit_cells: {"features": real, "k": 3, "standardize": True, "seed": 0},
        metrics.frechet_distance: both,
        metrics.frechet_infinity: {**both, "seed": 0},
        metrics.high_frequency_ratio: {"real": spectrum, "fake": spectrum},
        metrics.high_frequency_share: {"spectrum": spectrum},
        metrics.jensen_shannon: histograms,
        metrics.kernel_distance: both,
        metrics.knows: {"extractor": judge, "accuracy": 0.5},
        metrics.median_edge_ratio: {"real": real[:, 0].abs(), "fake": fake[:, 0].abs()},
        metrics.mean_interval: {"values": (1.0, 2.0)},
        metrics.missing_cells: histograms,
        metrics.missing_share: histograms,
        metrics.mode_coverage: {"fake": fake, "centers": real[:2], "std": 1.0},
        metrics.cluster_to_class: {"log_probabilities": real, "labels": torch.arange(20)},
        metrics.nearest: {"of": fake, "among": real, "itself": None},
        metrics.one_nn_accuracy: both,
        metrics.nearest_modes: {"points": fake, "centers": real[:2], "std": 1.0, "within": 3.0},
        metrics.nearest_other: {"points": real},
        metrics.prdc: {**both, "k": 5},
        metrics.parzen_log_likelihood: {"real": real.sigmoid(), "fake": fake.sigmoid(), "chosen_on": third.sigmoid()},
        metrics.mutual_information: {"codes": codes, "factors": factors},
        metrics.mutual_information_gap: {"codes": codes, "factors": factors},
        metrics.modularity: {"codes": codes, "factors": factors},
        metrics.dci: {"codes": codes, "factors": factors, "ordered": (True, False), "seed": 0},
        metrics.checkerboard_peak: {"real": spectrum, "fake": spectrum, "period": 2},
        metrics.checkerboard_power: {"spectrum": spectrum, "period": 2},
        metrics.checkerboard_ratio: {"real": spectrum, "fake": spectrum, "period": 2},
        metrics.pixels_pca64: {"images": images[:4]},
        metrics.posterior_collapsed: {"active": 1, "units": 20},
        metrics.power_spectrum: {"images": floats},
        metrics.prominence: {"spectrum": spectrum, "period": 4},
        metrics.reverse_kl: {"counts": counts},
        metrics.simclr64: {"images": images[:4]},
        metrics.squared_errors: {"real": images, "fake": images},
        metrics.total_variation: histograms,
        metrics.wilson_interval: {"hits": 3, "n": 7},
        latent.analogy: {"start": codes, "minus": codes, "plus": codes},
        latent.interfacegan: {"codes": torch.cat([codes] * 3), "labels": torch.arange(60) % 2, "classes": classes},
        latent.latent_weights: {"decoder": decoder, "d": 3},
        latent.interpolate: {"start": codes, "end": codes, "steps": 3, "how": "lerp"},
        latent.invert: {"decoder": decoder, "images": images[:1], "init": "both", "steps": 1, "restarts": 1, "lr": 0.1},
        latent.classifier_for: {"system": system, "classes": classes, "data": lambda: data},
        latent.lerp: {"a": codes, "b": codes, "t": 0.5},
        latent.lerp_gaussian: {"a": codes, "b": codes, "t": 0.5},
        latent.nearest: {"queries": real, "others": fake, "k": 2},
        latent.jitter_grid: {"code": codes[0], "spread": 0.2, "seed": 0},
        latent.latent_decoder: {"system": system, "labels": None},
        latent.open_path: {"stops": codes[None], "steps": 3, "how": "slerp"},
        latent.ganspace: {"codes": codes, "features": codes, "count": 2},
        latent.sefa: {"weight": codes, "codes": codes, "count": 2},
        latent.slerp: {"a": codes, "b": codes, "t": 0.5},
        latent.traverse: {"code": codes[0], "directions": [way], "reach": 3.0, "columns": 7},
        latent.total_steps: {"decoder": decoder, "init": "both", "steps": 3, "restarts": 2},
        latent.default_interpolation: {"system": system},
        latent.closed_path: {"stops": codes[None], "steps": 3, "how": "lerp"},
        latent.layers: {"system": system, "images": digits},
        latent.default_layer: {"found": [layer], "size": 28, "network": None},
        latent.receptive_field: {"system": system, "layer": layer, "shape": (1, 28, 28)},
        latent.exciting_patches: {"system": system, "layer": layer, "images": digits, "units": [0, 1], "count": 2},
        latent.optimized_images: {"system": system, "layer": layer, "shape": (1, 28, 28), "units": [0], "steps": 1},
        latent.without_unit: {"system": system, "layer": layer, "inputs": digits, "unit": 0},
        latent.ablation: {"system": system, "layer": layer, "inputs": digits},
        losses.Targets: {"real": 1.0, "fake": 0.0, "smoothing": 0.0, "real_noise": 0.0, "flip_prob": 0.0},
        losses.game: {"name": "hinge", "real_label": 1.0, "label_smoothing": 0.0, "label_flip_prob": 0.0},
        priors.gaussian: {"latent_dim": 3, "std": 1.0},
        priors.uniform: {"latent_dim": 3, "bound": 1.0},
        priors.gaussian_mixture: {"components": 3, "shift": 1.0, "long": 0.5, "short": 0.1},
        priors.swiss_roll: {"components": 3},
        priors.categorical: {"count": 3},
        priors.icdf_grid: {"side": 3},
        image_grid.to_pil: {"pixels": images[0]},
        image_grid.grid: {"images": floats, "columns": 2},
        image_grid.upscale: {"picture": image_grid.to_pil(images[0]), "times": 2},
        image_grid.with_row_labels: {"rows": ["a"], "picture": image_grid.to_pil(images[0]), "size": 13},
        image_grid.interleave_rows: {"above": images[:3], "below": images[:3], "columns": 2},
        image_grid.png: {"picture": image_grid.to_pil(images[0])},
        image_grid.webp: {"frames": [image_grid.to_pil(images[0])], "milliseconds": 80},
    }  # fmt: skip


def answer(function, given):
    """What comes of a call, or the line of its refusal. Anything else is a failure."""
    several = [name for name, p in inspect.signature(function).parameters.items() if p.kind is p.VAR_POSITIONAL]
    flat = [given[name] for name in several]
    try:
        return function(*flat, **{name: value for name, value in given.items() if name not in several})
    except SparringError as error:
        line = str(error)
    assert "\n" not in line
    return line


def test_every_public_function_of_tensors_answers_or_refuses_in_one_line(system, monkeypatch):
    monkeypatch.setattr("sparring.metrics.data_driven.STEPS", 1)
    monkeypatch.setattr("sparring.metrics.data_driven.BATCH", 8)
    every, wrong = calls(system), []
    for function, right in every.items():
        assert not isinstance(answer(function, right), str) or function in (
            metrics.load_pretrained,
            latent.classifier_for,
            latent.default_interpolation,
        )
        for name, value in right.items():
            for other in (*ANYTHING, *(variants(value) if isinstance(value, Tensor) else ())):
                try:
                    came = answer(function, {**right, name: other})
                except Exception as error:
                    what = f"{tuple(other.shape)} {other.dtype}" if isinstance(other, Tensor) else abbreviated(other)
                    wrong.append(f"{function.__name__}({name}={what}): {type(error).__name__}: {error}")
                else:
                    if isinstance(came, float) and math.isnan(came):
                        wrong.append(f"{function.__name__}({name}={abbreviated(other)}) is NaN")
    assert not wrong, "\n".join(wrong)


def test_no_public_function_is_forgotten(system):
    public = {
        one
        for module in (metrics, latent)
        for name in module.__all__
        if inspect.isfunction(one := getattr(module, name))
    }
    assert public <= set(calls(system))


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (lambda: losses.relativistic(torch.zeros(3, 1), torch.zeros(3)), "(3, 1) and (3,)"),
        (lambda: losses.cross_entropy(torch.zeros(3, 1), torch.zeros(3)), "(3, 1) and (3,)"),
        (lambda: losses.squared_error(torch.zeros(3, 1), torch.zeros(3)), "(3, 1) and (3,)"),
        (
            lambda: losses.interpolate(torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(1)),
            "alpha must have one value for each of 3",
        ),
        (lambda: losses.kl_to_standard_normal(torch.zeros(3, 2), torch.zeros(3, 1)), "(3, 2) and (3, 1)"),
    ],
)
def test_losses_do_not_broadcast(loss, words):
    with pytest.raises(SparringError) as caught:
        loss()
    assert words in str(caught.value)
