"""The VAE/GAN of Larsen et al. 2016."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.recipes.arguments import Batch, EmaDecay, Game, LatentLength, Rate, Width
from sparring.recipes.recipe import Recipe, recipe
from sparring.recipes.vae import Beta

if TYPE_CHECKING:
    from sparring.data.dataset import Spec


@recipe(
    paper="Larsen et al. 2016, Autoencoding beyond pixels using a learned similarity metric, arXiv 1512.09300", size=64
)
def vae_gan(
    data: "Spec",
    *,
    latent_dim: LatentLength = 128,
    width: Width = 32,
    gamma: Annotated[
        float, Field(ge=0, description="weight of the reconstruction in the decoder's loss: 0.001; 0: a GAN's loss")
    ] = 2e-6,
    beta: Beta = 1.0,
    game: Game = "minimax",
    joint_batch: Annotated[
        bool, Field(description="images, reconstructions and samples in one batch of D; no: three batches")
    ] = True,
    batch: Batch = 64,
    lr: Rate = 3e-4,
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """A VAE whose decoder is also the generator of a GAN: the discriminator's features replace pixels in its loss.

    | the paper and its code | here | why |
    |---|---|---|
    | gamma 1e-6 for faces of 64 pixels | 2e-6 | its adversarial loss has weight 1/2; --gamma |
    | no step of the player that is ahead by far | every player's step, always | in the code, not in the paper |
    | the rate falls from 3.9e-4 to 1.6e-7 (code) | .0003 | as in the paper; --lr |
    | a weight decay of 1e-5 (code) | none | not in the paper |
    | samples of the live weights | of the EMA weights | less noise in the samples; --ema-decay 0 |

    The features are those of the discriminator's fourth convolution. Their loss is a sum over features: with images or
    a `--width` of another size `--gamma` needs another value. `--game non-saturating` and `--no-joint-batch` help where
    the discriminator wins early.

    Measured (docs/results/autoencoders.md; seed 0, --size 28 --width 4 and others named there): on 4,500 digits
    FD-lenet-mnist@500 145 after 1,000 rounds, where real images score 29, with edges as sharp as those of real digits.
    """
    import torch

    from sparring import losses
    from sparring.networks import vae_gan as networks
    from sparring.systems.vae_gan import VAEGAN

    system = VAEGAN(
        networks.encoder(latent_dim, width, data.channels, data.size),
        networks.decoder(latent_dim, width, data.channels, data.size),
        networks.trunk(width, data.channels),
        networks.head(width, data.size),
        latent_dim=latent_dim,
        gamma=gamma,
        beta=beta,
        game=losses.game(game),
        joint_batch=joint_batch,
    )
    rmsprop = partial(torch.optim.RMSprop, lr=lr, alpha=0.9)
    return Recipe(
        system=system,
        optimizers=dict.fromkeys(system.players, rmsprop),
        batch=batch,
        rounds=62_500,
        ema_decay=ema_decay,
    )
