"""Zero-centered gradient penalties (Mescheder et al. 2018) on networks without norms."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from sparring.errors import require_size
from sparring.recipes.arguments import Batch, EmaDecay, GameName, Latent, Noise, Rate, Width
from sparring.recipes.recipe import Recipe, recipe

if TYPE_CHECKING:
    from sparring.data.dataset import Spec

Penalize = Annotated[
    Literal["real", "fake", "both", "interpolated"],
    Field(description="where the gradient is penalized: real (R1), fake (R2), both, or interpolated images"),
]


@recipe(paper="Mescheder et al. 2018, Which Training Methods for GANs do actually Converge?, 1801.04406", size=28)
def r1gan(
    data: "Spec",
    *,
    latent_dim: Latent = 128,
    noise: Noise = "normal",
    width: Width = 64,
    batch: Batch = 64,
    lr: Rate = 1e-4,
    game: Annotated[GameName, Field(description="the pair of losses")] = "non-saturating",
    gamma: Annotated[float, Field(ge=0, description="weight of the penalty, halved as in eq. 9")] = 10.0,
    penalize: Penalize = "real",
    penalty_interval: Annotated[
        int,
        Field(ge=1, description="lazy regularization: apply the penalty every so many rounds, scaled up accordingly"),
    ] = 1,
    ema_decay: EmaDecay = 0.999,
) -> Recipe:
    """The non-saturating game with R1 penalty, RMSprop and EMA weights; 28x28 only.

    The authors' code has no factor 1/2: its reg_param 10 is gamma 20 here. The networks are those of wgan-gp, also
    without norms; theirs are ResNets for larger images.

    Measured (docs/results/mnist.md; seed 0, --width 32 --lr 0.0005, with PyTorch's initial weights): on MNIST
    FD-lenet-mnist@10000 30 after 4,000 rounds and 7 minutes on one CPU thread, where real images score 3.1; with the
    default learning rate 502.
    """
    import torch

    from sparring.losses import game as game_of
    from sparring.networks import wgan_gp
    from sparring.systems.r1 import R1GAN

    require_size("r1gan", data.size, [28], others="dcgan, r3gan")
    rmsprop = partial(torch.optim.RMSprop, lr=lr, alpha=0.99)
    system = R1GAN(
        wgan_gp.mnist_generator(latent_dim, width, data.channels),
        wgan_gp.mnist_critic(width, data.channels),
        latent_dim=latent_dim,
        game=game_of(game),
        noise=noise,
        gamma=gamma,
        penalize=penalize,
        penalty_interval=penalty_interval,
    )
    return Recipe(
        system=system,
        optimizers=dict.fromkeys(system.players, rmsprop),
        batch=batch,
        rounds=100_000,
        ema_decay=ema_decay,
    )
