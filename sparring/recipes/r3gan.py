"""R3GAN (Huang et al. 2024), with the settings of its CIFAR-10 preset."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.recipes.arguments import Batch, EmaDecay, Latent, Noise, Rate
from sparring.recipes.recipe import Recipe, recipe
from sparring.recipes.schedules import cosine, schedule

if TYPE_CHECKING:
    from sparring.data.dataset import Spec

Gamma = Annotated[
    float,
    Field(
        ge=0,
        allow_inf_nan=False,
        description="weight (halved) of both penalties at the start (gamma) and end (final_gamma)",
    ),
]


@recipe(paper="Huang et al. 2024, The GAN is dead; long live the GAN!, arXiv 2501.05441", size=32)
def r3gan(
    data: "Spec",
    *,
    latent_dim: Latent = 64,
    noise: Noise = "normal",
    width: Annotated[int, Field(gt=0, description="channels at every resolution")] = 768,
    groups: Annotated[int, Field(gt=0, description="groups of the 3x3 convolutions, which have twice the width")] = 96,
    blocks: Annotated[int, Field(gt=0, le=100, description="residual blocks at every resolution")] = 2,
    batch: Batch = 512,
    lr: Rate = 2e-4,
    final_lr: Rate = 5e-5,
    gamma: Gamma = 0.05,
    final_gamma: Gamma = 0.005,
    anneal_rounds: Annotated[
        int, Field(gt=0, description="rounds over which learning rate, gamma and beta 2 change (cosine)")
    ] = 39_062,
    ema_decay: EmaDecay = 0.99993,
) -> Recipe:
    """R3GAN: relativistic game, R1 and R2 in every step, residual networks without normalization.

    The published preset, without classes, has 20,732,160 and 20,683,776 weights and needs GPUs. The paper's
    augmentation (adaptive, and horizontal flips) is missing. The half-life of its EMA grows to 5 million images over
    the annealing; here it has this value from the end of the warm-up.

    Measured (docs/results/mnist.md; seed 0, with the same real batch for both moves): on MNIST at 32 px, --width 16
    --groups 1 --blocks 1 --batch 32 --lr 0.001 --final-lr 0.001 --gamma 0.1 --final-gamma 0.1 --ema-decay 0.99,
    FD-lenet-mnist@10000 110 after 3,000 rounds and 23 minutes on one CPU thread, where real images score 2.3; recall is
    low (.09). Groups are slower there.
    """
    import torch

    from sparring.networks import r3gan as networks
    from sparring.systems.r3gan import R3GAN

    beta2 = cosine(0.9, 0.99, anneal_rounds)
    settings = schedule(lr=cosine(lr, final_lr, anneal_rounds), betas=lambda round_number: (0.0, beta2(round_number)))
    adam = partial(torch.optim.Adam, lr=lr, betas=(0.0, 0.9))
    system = R3GAN(
        networks.generator(latent_dim, width, groups, blocks, data.channels, data.size),
        networks.discriminator(width, groups, blocks, data.channels, data.size),
        latent_dim=latent_dim,
        noise=noise,
        gamma=cosine(gamma, final_gamma, anneal_rounds),
    )
    return Recipe(
        system=system,
        optimizers=dict.fromkeys(system.players, adam),
        schedules=dict.fromkeys(system.players, settings),
        batch=batch,
        rounds=488_281,
        ema_decay=ema_decay,
    )
