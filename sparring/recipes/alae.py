"""The fully connected adversarial latent autoencoder of Pidhorskyi et al. 2020, for MNIST."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sparring.recipes.arguments import Batch, Latent, Noise, Rate
from sparring.recipes.optimizers import shared_adam
from sparring.recipes.recipe import Measured, Recipe, recipe

if TYPE_CHECKING:
    from sparring.data.dataset import Spec

Gamma = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False, description="weight (halved) of D's squared gradient norm on real images (R1)"),
]
EmaHalfLife = Annotated[int, Field(gt=0, description="half-life of the EMA of the weights, in images")]
Layers = Annotated[int, Field(gt=0, le=100, description="layers of F, which maps noise to codes")]
TrainMapping = Annotated[
    bool, Field(description="also train F in the reconstruction step, as in the authors' code; algorithm 1 does not")
]


@recipe(
    paper="Pidhorskyi et al. 2020, Adversarial Latent Autoencoders, arXiv 2004.04467; branch mnist_ref",
    size=28,
    measured=Measured(data="mnist", rounds=4_000, minutes=7, result="FD-lenet-mnist@2000 857 (real 8.8)"),
)
def alae(
    data: "Spec",
    *,
    latent_dim: Latent = 50,
    noise: Noise = "normal",
    width: Annotated[int, Field(gt=0, description="units of each hidden layer of G and E")] = 1024,
    mapping_layers: Layers = 6,
    batch: Batch = 128,
    lr: Rate = 2e-3,
    gamma: Gamma = 10.0,
    train_mapping: TrainMapping = False,
    ema_half_life: EmaHalfLife = 10_000,
) -> Recipe:
    """Permutation-invariant MNIST: fully connected, any size and number of channels. 800 epochs in the paper's code.

    The authors' pixels lie in [0, 1], and gamma refers to those. Weights that two players train share one running
    square of their gradients, as in the authors' code, where two optimizers share the three steps. D is not updated in
    step III; in their code its running squares were updated with gradients of 0 there (PyTorch in 2020), so that its
    steps were sqrt(2) times as long.

    Measured (docs/results/autoencoders.md; seed 0): on MNIST FD-lenet-mnist@2000 857, where real images score 8.8,
    after 4,000 rounds (9 epochs, 7 minutes on one CPU thread).
    """
    from sparring.networks import alae as networks
    from sparring.systems.alae import ALAE

    adam = shared_adam(lr)
    system = ALAE(
        networks.mapping(latent_dim, mapping_layers),
        networks.generator(latent_dim, width, data.shape),
        networks.Encoder(data.shape, width, latent_dim),
        networks.discriminator(latent_dim, latent_dim),
        latent_dim=latent_dim,
        noise=noise,
        gamma=gamma * 4,  # pixels in [-1, 1]: half the gradient, a quarter of its square
        train_mapping=train_mapping,
    )
    return Recipe(
        system=system,
        optimizers=dict.fromkeys(system.players, adam),
        batch=batch,
        rounds=375_000,
        ema_decay=0.5 ** (batch / ema_half_life),
    )
