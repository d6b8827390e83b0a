"""The fully connected GAN of Raschka's introduction to GANs."""

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
    from torch import nn

    from sparring.networks import mlp

    leaky = partial(nn.LeakyReLU, 0.01)
    return Recipe(
        system=options.make_gan(
            mlp.generator(latent_dim, [128], data.shape, activation=leaky, dropout=0.5),
            mlp.discriminator(data.shape, [128], activation=leaky, dropout=0.5),
            latent_dim=latent_dim,
            noise=noise,
        ),
        optimizers=adam.optimizers(),
        batch=batch,
        rounds=46_900,
        ema_decay=ema_decay,
    )
