"""R3GAN (Huang et al. 2024), with the settings of its CIFAR-10 preset."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from sparring.recipes.arguments import Batch, EmaDecay, Latent, Noise, Rate
from sparring.recipes.recipe import Recipe, recipe

if TYPE_CHECKING:
    from sparring.data.dataset import Spec

Gamma = Annotated[float, Field(ge=0, allow_inf_nan=False, description="weight of both penalties (halved), from ... to")]


@recipe(paper="Huang et al. 2024, The GAN is dead; long live the GAN!, arXiv 2501.05441", size=32)
def r3gan(
    data: "Spec",
    *,
    latent_dim: Latent = 64,
    noise: Noise = "normal",
    width: Annotated[int, Field(gt=0, description="feature maps at every size")] = 768,
    groups: Annotated[int, Field(gt=0, description="groups of the 3x3 convolutions, over twice the width")] = 96,
    blocks: Annotated[int, Field(gt=0, le=100, description="residual blocks at every size")] = 2,
    batch: Batch = 512,
    lr: Rate = 2e-4,
    final_lr: Rate = 5e-5,
    gamma: Gamma = 0.05,
    final_gamma: Gamma = 0.005,
    anneal_rounds: Annotated[
        int, Field(gt=0, description="rounds over which rate, gamma and beta 2 move (cosine)")
    ] = 39_062,
    ema_decay: EmaDecay = 0.99993,
) -> Recipe:
    """Relativistic game, R1 and R2 on every step, residual networks without any normalization, any number of channels.

    The preset as published, without classes, has 20,732,160 and 20,683,776 weights and needs GPUs. The paper's
    augmentation (adaptive, and mirrored images) is missing, and its EMA's half-life grows to 5 million images along the
    ramp, where ours has that from the end of its warm-up.

    Measured (docs/results/mnist.md; seed 0, with one real batch for both moves): on MNIST at 32 px, --width 16 --groups
    1 --blocks 1 --batch 32 --lr 0.001 --final-lr 0.001 --gamma 0.1 --final-gamma 0.1 --ema-decay 0.99,
    FD-lenet-mnist@10000 110 after 3,000 rounds and 23 minutes of one CPU thread, where real images score 2.3; recall is
    low (.09). Groups are slower there.
    """
    import torch

    from sparring.networks import r3gan as networks
    from sparring.systems.r3gan import R3GAN, cosine

    def settings(round_number: int) -> dict[str, Any]:
        share = (round_number - 1) / anneal_rounds
        return {"lr": cosine(lr, final_lr, share), "betas": (0.0, cosine(0.9, 0.99, share))}

    adam = partial(torch.optim.Adam, lr=lr, betas=(0.0, 0.9))
    return Recipe(
        system=R3GAN(
            networks.generator(latent_dim, width, groups, blocks, data.channels, data.size),
            networks.discriminator(width, groups, blocks, data.channels, data.size),
            latent_dim=latent_dim,
            noise=noise,
            gamma=gamma,
            final_gamma=final_gamma,
            anneal_rounds=anneal_rounds,
        ),
        optimizers={"discriminator": adam, "generator": adam},
        schedules={"discriminator": settings, "generator": settings},
        batch=batch,
        rounds=488_281,
        ema_decay=ema_decay,
    )
