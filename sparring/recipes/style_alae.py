"""StyleALAE (Pidhorskyi et al. 2020, section 4): an adversarial latent autoencoder with StyleGAN's generator."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.recipes.alae import EmaHalfLife, Gamma, Layers, TrainMapping
from sparring.recipes.arguments import Batch, Latent, Noise, Rate
from sparring.recipes.optimizers import shared_adam
from sparring.recipes.recipe import Recipe, recipe
from sparring.recipes.schedules import schedule

if TYPE_CHECKING:
    from sparring.data.dataset import Spec

Mixing = Annotated[
    float, Field(ge=0, le=1, description="fraction of generated images that mix two codes (style mixing)")
]


@recipe(paper="Pidhorskyi et al. 2020, Adversarial Latent Autoencoders, arXiv 2004.04467; reduced", size=32)
def style_alae(
    data: "Spec",
    *,
    latent_dim: Latent = 64,
    noise: Noise = "normal",
    width: Annotated[int, Field(gt=0, description="channels at full resolution; doubled at each half resolution")] = 16,
    max_channels: Annotated[int, Field(gt=0, description="maximum number of channels")] = 64,
    mapping_layers: Layers = 8,
    rounds_per_level: Annotated[
        int, Field(ge=0, description="rounds per resolution before it doubles; 0: full resolution from the start")
    ] = 2000,
    mixing: Mixing = 0.9,
    batch: Batch = 32,
    lr: Rate = 1.5e-3,
    gamma: Gamma = 10.0,
    train_mapping: TrainMapping = False,
    ema_half_life: EmaHalfLife = 10_000,
) -> Recipe:
    """StyleALAE at 8, 16, 32, ... 1024 pixels, progressively grown; the defaults are for two CPU cores.

    For FFHQ the authors have --size 1024 --latent-dim 512 --max-channels 512, width 16 and 8 mapping layers as here, 16
    epochs of 60,000 images a level, and batches of 512, 256, 128, 64 and then 32 as the images grow; the batch is fixed
    here (--batch 32 --rounds-per-level 30000). They reset Adam's state at each new level, and decide once per batch
    whether and where codes are mixed; here this is drawn per image. As in their code, the learning rate is 4/3
    of --lr at 256 pixels and twice --lr beyond. Their D has three layers, the paper's eight.

    Measured (docs/results/autoencoders.md; an earlier encoder; seed 0, --size 32 --rounds-per-level 1000):
    FD-lenet-mnist@2000 47.7 after 5,000 rounds and 70 minutes of a shared CPU core, where real images score 6.2.
    """
    from sparring.networks import alae, style_alae
    from sparring.systems.style_alae import StyleALAE

    levels = style_alae.levels_of(data.size)
    shape = (latent_dim, width, max_channels, data.channels, data.size)

    def lr_of_level(round_number: int) -> float:
        level, _ = style_alae.level_and_blend(round_number - 1, levels, rounds_per_level)
        return lr * {256: 4 / 3, 512: 2, 1024: 2}.get(4 << level, 1)

    adam = shared_adam(lr)
    system = StyleALAE(
        alae.mapping(latent_dim, mapping_layers),
        style_alae.Generator(*shape, rounds_per_level=rounds_per_level),
        style_alae.Encoder(*shape, rounds_per_level=rounds_per_level),
        alae.discriminator(latent_dim, 1),
        latent_dim=latent_dim,
        noise=noise,
        gamma=gamma,
        mixing=mixing,
        train_mapping=train_mapping,
    )
    return Recipe(
        system=system,
        optimizers=dict.fromkeys(system.players, adam),
        schedules=dict.fromkeys(system.players, schedule(lr=lr_of_level)),
        batch=batch,
        rounds=2 * levels * (rounds_per_level or 2000),
        ema_decay=0.5 ** (batch / ema_half_life),
    )
