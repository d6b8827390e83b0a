"""PacGAN on stacked MNIST (Lin et al. 2018): a tiny discriminator of packs of images."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.errors import SparringError, require_size
from sparring.recipes.arguments import Adam, Batch, EmaDecay, GANOptions, Latent, Noise
from sparring.recipes.recipe import Recipe, recipe

if TYPE_CHECKING:
    from sparring.data.dataset import Spec


@recipe(paper="Lin et al. 2018, PacGAN: The power of two samples in GANs, arXiv 1712.04086", size=28)
def pacgan(
    data: "Spec",
    *,
    packing: Annotated[int, Field(ge=1, le=16, description="images that D scores together; 1: a plain GAN")] = 4,
    d_channels: Annotated[
        int, Field(ge=1, le=64, description="channels of D's first layer (the paper: 2 for D = G/4, 4 for D = G/2)")
    ] = 2,
    latent_dim: Latent = 256,
    noise: Noise = "normal",
    batch: Batch = 512,
    adam: Adam = Adam(2e-4, 1e-4),
    ema_decay: EmaDecay = 0.999,
    options: GANOptions = GANOptions(resample_noise=False),
) -> Recipe:
    """A discriminator of a few hundred weights scores packs of images, so that it can detect mode collapse.

    Intended for `--data stacked-mnist`, whose 1,000 modes `sparring evaluate` counts. The batch is 128 packs of 4. The
    default precision is fp32. Batch norm in G uses all images of a step; in the authors' code G generates the first
    images of all packs, then the second ones, each with their own statistics, and sampling uses batch statistics, here
    running ones.

    Measured (docs/results/toys.md; with other initial weights; --batch 128 --discriminator-lr 0.001 --generator-lr
    0.0005 --rounds 16000, 11 minutes of one core): 811 to 931 modes, reverse KL 1.71 to .77 nats, over three seeds; the
    paper has 667.4 and 1.81.
    """
    from sparring.networks import pacgan as networks
    from sparring.networks.minibatch import PacDiscriminator

    require_size("pacgan", data.size, [28], others="dcgan, r3gan")
    if batch % packing:
        raise SparringError(f"--batch {batch} is not a multiple of --packing {packing}")
    D = networks.discriminator(packing * data.channels, d_channels)
    return Recipe(
        system=options.make_gan(
            networks.generator(latent_dim, data.channels),
            PacDiscriminator(D, packing),
            latent_dim=latent_dim,
            noise=noise,
        ),
        optimizers=adam.optimizers(beta2=0.99),
        batch=batch,
        rounds=500_000,
        ema_decay=ema_decay,
        precision="fp32",
    )
