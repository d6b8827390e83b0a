"""Raschka's introduction to GANs: the fully connected GAN of the slides."""

from functools import partial
from typing import TYPE_CHECKING

from sparring.recipes.arguments import Adam, Batch, EmaDecay, GANOptions, Latent, Noise
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
    adam: Adam = Adam(2e-4, 2e-4),
    ema_decay: EmaDecay = 0.999,
    rules: GANOptions = GANOptions(half_d_loss=True, resample_noise=False),
) -> Recipe:
    """One hidden layer of 128 and dropout on each side; the generator answers for the fakes D has just seen.

    D's loss is halved, as in the slides (with Adam the scale of a loss hardly matters).

    | the slides | here | why |
    |---|---|---|
    | all of MNIST's 60,000 images | 54,000, as many rounds | 6,000 are held out for measuring |
    | live weights shown | a moving average | less noise in what is shown; --ema-decay 0 |

    Measured (docs/results/mnist.md; seed 0, one CPU thread): FD-lenet-mnist@10000 430 on MNIST after 46,900 rounds in
    7 minutes, where real images score 3.1.
    """
    from torch import nn

    from sparring.networks import mlp

    leaky = partial(nn.LeakyReLU, 0.01)
    return Recipe(
        system=rules.gan(
            mlp.generator(latent_dim, [128], data.shape, activation=leaky, dropout=0.5),
            mlp.discriminator(data.shape, [128], activation=leaky, dropout=0.5),
            latent_dim=latent_dim,
            noise=noise,
        ),
        optimizers=adam.for_gan(),
        batch=batch,
        rounds=46_900,
        ema_decay=ema_decay,
    )
