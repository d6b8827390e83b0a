"""DCGAN at 16 to 256 pixels: Radford et al. 2016 with the widths of pytorch/examples."""

from typing import TYPE_CHECKING

from sparring.recipes.arguments import Adam, Batch, EmaDecay, GANOptions, Latent, Noise, Width
from sparring.recipes.recipe import Measured, Recipe, recipe

if TYPE_CHECKING:
    from sparring.data.dataset import Spec


@recipe(
    paper="Radford et al. 2016, arXiv 1511.06434; widths and 4x4 kernels of pytorch/examples",
    size=64,
    measured=Measured(
        data="mnist",
        rounds=800,
        minutes=23,
        result="FD-lenet-mnist@10000 174 (real 2.1)",
        options="--ema-decay 0.99",
    ),
)
def dcgan(
    data: "Spec",
    *,
    latent_dim: Latent = 100,
    noise: Noise = "normal",
    width: Width = 64,
    batch: Batch = 128,
    adam: Adam = Adam(2e-4, 2e-4),
    ema_decay: EmaDecay = 0.999,
    options: GANOptions = GANOptions(resample_noise=False),
) -> Recipe:
    """DCGAN: strided convolutions and batch norm in G and D, 16 to 256 pixels, any number of channels.

    The paper uses uniform noise, 128 channels and 5x5 kernels for faces; pytorch/examples normal noise and 64. The
    batch of 128 is the paper's (pytorch/examples: 64). The generator's step reuses the fakes of D's step, as in
    pytorch/examples.

    Measured (docs/results/mnist.md; seed 0, --ema-decay 0.99): on MNIST at 64x64 FD-lenet-mnist@10000 174 after 800
    rounds and 23 minutes on one CPU thread, where real images score 2.1.
    """
    from sparring.networks import dcgan as networks

    return Recipe(
        system=options.make_gan(
            networks.generator(latent_dim, width, data.channels, data.size),
            networks.discriminator(width, data.channels, data.size),
            latent_dim=latent_dim,
            noise=noise,
        ),
        optimizers=adam.optimizers(),
        batch=batch,
        rounds=39_575,
        ema_decay=ema_decay,
    )
