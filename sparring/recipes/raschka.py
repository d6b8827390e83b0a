"""The two GANs of Raschka's introduction to GANs: fully connected on MNIST, convolutional on faces."""

from typing import TYPE_CHECKING

from sparring.recipes.arguments import Adam, Batch, EmaDecay, GANOptions, Latent, MLPOptions, Noise, Width
from sparring.recipes.recipe import Recipe, recipe

if TYPE_CHECKING:
    from sparring.data.dataset import Spec


@recipe(paper="Raschka, Introduction to GANs; game: Goodfellow et al. 2014, arXiv 1406.2661", size=28)
def raschka_mlp(
    data: "Spec",
    *,
    latent_dim: Latent = 100,
    noise: Noise = "normal",
    batch: Batch = 128,
    layers: MLPOptions = MLPOptions(),
    adam: Adam = Adam(2e-4, 2e-4),
    ema_decay: EmaDecay = 0.999,
    options: GANOptions = GANOptions(half_d_loss=True, resample_noise=False),
) -> Recipe:
    """One hidden layer of 128 units and dropout in G and D; the generator's step reuses the fakes of D's step.

    D's loss is halved, as in the slides (the scale of a loss hardly affects Adam).

    | the slides | here | why |
    |---|---|---|
    | all of MNIST's 60,000 images | 54,000, same number of rounds | 6,000 are held out for evaluation |
    | samples of the live weights | of the EMA weights | less noise in the samples; --ema-decay 0 |

    Measured (docs/results/mnist.md; seed 0, one CPU thread): FD-lenet-mnist@10000 430 on MNIST after 46,900 rounds in
    7 minutes, where real images score 3.1.
    """
    G, D = layers.networks(latent_dim, data.shape, generator=[128], discriminator=[128], slope=0.01, dropout=0.5)
    system = options.make_gan(G, D, latent_dim=latent_dim, noise=noise)
    system.caveats += layers.caveats
    return Recipe(
        system=system,
        optimizers=adam.optimizers(),
        batch=batch,
        rounds=46_900,
        ema_decay=ema_decay,
    )


@recipe(paper="Raschka, Introduction to GANs, notebook 02_dcgan-celeba; after Radford et al. 2016", size=64)
def raschka_dcgan(
    data: "Spec",
    *,
    latent_dim: Latent = 100,
    noise: Noise = "normal",
    width: Width = 64,
    batch: Batch = 128,
    adam: Adam = Adam(2e-4, 2e-4),
    ema_decay: EmaDecay = 0.999,
    options: GANOptions = GANOptions(half_d_loss=True, resample_noise=False),
) -> Recipe:
    """The DCGAN of the second notebook, for CelebA at 64 pixels; here also 16, 32, 128 and 256.

    It differs from `dcgan` in LeakyReLU .01 in both networks (there ReLU in G, LeakyReLU .2 in D), in biases of D's
    first and last layer, in PyTorch's initial weights, and in the halved loss of D. The rounds are its 20 epochs of
    1,272 batches. In its log D wins: in the last epoch D's loss is .01 to .1 and G's 4.5 to 6.7.

    | the notebook | here | why |
    |---|---|---|
    | CelebA's training images | all but the held-out images | one split for all data |
    | the central 160 of 178 x 218 pixels, resized to 64 | the central square, 178 | as for all data |
    | samples of the live weights | of the EMA weights | less noise in the samples; --ema-decay 0 |
    """
    from sparring.networks import dcgan as networks

    return Recipe(
        system=options.make_gan(
            networks.generator(latent_dim, width, data.channels, data.size, slope=0.01, radford_init=False),
            networks.discriminator(width, data.channels, data.size, slope=0.01, biases=True, radford_init=False),
            latent_dim=latent_dim,
            noise=noise,
        ),
        optimizers=adam.optimizers(),
        batch=batch,
        rounds=25_440,
        ema_decay=ema_decay,
    )
