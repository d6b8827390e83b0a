"""The semi-supervised classifier of Salimans et al. 2016 on MNIST."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.recipes.arguments import Batch, EmaDecay, Latent, Noise, Rate
from sparring.recipes.recipe import Measured, Recipe, recipe, require_balanced, require_classes
from sparring.recipes.schedules import constant, linear_decay, schedule

if TYPE_CHECKING:
    from sparring.data.dataset import Dataset, Spec

LrDecayRounds = Annotated[
    int,
    Field(
        ge=0,
        description="rounds after which the learning rate is 0, with linear decay in the last third; 0: constant",
    ),
]


@recipe(
    paper="Salimans et al. 2016, Improved Techniques for Training GANs, arXiv 1606.03498",
    size=28,
    classes=10,
    measured=Measured(
        data="mnist",
        rounds=42_000,
        minutes=48,
        result="1.50 and 1.17 % of test images wrong with 100 labels (2 seeds)",
        options="--lr-decay-rounds 42000 --ema-decay 0.999",
    ),
)
def improved_gan(
    data: "Spec",
    *,
    n_labeled: Annotated[int, Field(ge=1, description="labeled images, equally many per class")] = 100,
    latent_dim: Latent = 100,
    noise: Noise = "uniform",
    batch: Batch = 100,
    lr: Rate = 0.003,
    lr_decay_rounds: LrDecayRounds = 0,
    ema_decay: EmaDecay = 0.9999,
) -> Recipe:
    """Semi-supervised classification from few labels, unlabeled images and generated images.

    Networks and settings of the authors' MNIST code: Gaussian noise and weight norm in every layer of D, with scales
    initialized from 500 images; feature matching; 300 epochs, evaluated with EMA weights (here with warm-up; theirs
    start from zeros, which takes 10,000 rounds to fade). Their noise is U(0, 1), which is equivalent to U(-1, 1) before
    the batch norm of G's first layer. The seed determines which images are labeled. `--lr-decay-rounds` is an addition;
    their CIFAR-10 code decays the learning rate in the last third. The default precision is fp32: in bf16 D became
    overconfident.

    Measured (docs/results/classes.md; --rounds 42000 --lr-decay-rounds 42000 --ema-decay 0.999, 48 minutes of CPU time,
    with other initial weights of G and a longer EMA warm-up): 1.50 % (seed 0) and 1.17 % (seed 1) of the
    test images wrong with 100 labels, and 1.35 % (seed 0) with 60,000; the paper has .93 % after 180,000 rounds.
    """
    import torch

    from sparring.data.pixels import to_float
    from sparring.networks import improved_gan
    from sparring.systems.improved_gan import ImprovedGAN

    classes = require_classes(data, "improved-gan")
    require_balanced(n_labeled, classes)
    G = improved_gan.generator(latent_dim, data.shape)
    T, D = improved_gan.trunk(data.shape), improved_gan.head(classes)

    def initialize(dataset: "Dataset") -> None:
        improved_gan.init_from_data([*T, *D], to_float(dataset.images_at(slice(500))))

    def streams(dataset: "Dataset", seed: int) -> Mapping[str, "Dataset"]:
        return {"labeled": dataset.labeled_subset(n_labeled, seed).repeated(batch), "unlabeled": dataset}

    n = lr_decay_rounds
    curve = linear_decay(lr, first=1 + 2 / 3 * n, last=1 + n) if n else constant(lr)
    adam = partial(torch.optim.Adam, lr=lr, betas=(0.5, 0.999), eps=1e-4)  # the authors add 1e-8 inside the square root
    system = ImprovedGAN(G, T, D, latent_dim=latent_dim, noise=noise)
    return Recipe(
        system=system,
        optimizers=dict.fromkeys(system.players, adam),
        schedules=dict.fromkeys(system.players, schedule(lr=curve)),
        batch=batch,
        rounds=180_000,
        ema_decay=ema_decay,
        precision="fp32",
        prepare=initialize,
        streams=streams,
    )
