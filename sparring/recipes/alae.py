"""Adversarial latent autoencoders (Pidhorskyi et al. 2020): fully connected for MNIST; with StyleGAN's generator."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from sparring.recipes.arguments import Batch, Latent, Noise, Rate
from sparring.recipes.recipe import Measured, Recipe, recipe

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from sparring.data.dataset import Spec
    from sparring.referee import MakeOptimizer

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
    return Recipe(
        system=ALAE(
            networks.mapping(latent_dim, mapping_layers),
            networks.generator(latent_dim, width, data.shape),
            networks.Encoder(data.shape, width, latent_dim),
            networks.discriminator(latent_dim, latent_dim),
            latent_dim=latent_dim,
            noise=noise,
            gamma=gamma * 4,  # pixels in [-1, 1]: half the gradient, a quarter of its square
            train_mapping=train_mapping,
        ),
        optimizers={"discriminator": adam, "generator": adam, "autoencoder": adam},
        batch=batch,
        rounds=375_000,
        ema_decay=0.5 ** (batch / ema_half_life),
    )


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
    mixing: Annotated[
        float, Field(ge=0, le=1, description="fraction of generated images that mix two codes (style mixing)")
    ] = 0.9,
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

    def lr_of_level(round_number: int) -> dict[str, float]:
        level, _ = style_alae.level_and_blend(round_number - 1, levels, rounds_per_level)
        return {"lr": lr * {256: 4 / 3, 512: 2, 1024: 2}.get(4 << level, 1)}

    adam = shared_adam(lr)
    players = ("discriminator", "generator", "autoencoder")
    return Recipe(
        system=StyleALAE(
            alae.mapping(latent_dim, mapping_layers),
            style_alae.Generator(*shape, rounds_per_level=rounds_per_level),
            style_alae.Encoder(*shape, rounds_per_level=rounds_per_level),
            alae.discriminator(latent_dim, 1),
            latent_dim=latent_dim,
            noise=noise,
            gamma=gamma,
            mixing=mixing,
            train_mapping=train_mapping,
        ),
        optimizers=dict.fromkeys(players, adam),
        schedules=dict.fromkeys(players, lr_of_level),
        batch=batch,
        rounds=2 * levels * (rounds_per_level or 2000),
        ema_decay=0.5 ** (batch / ema_half_life),
    )


def shared_adam(lr: float) -> "MakeOptimizer":
    """Adam (0, .99) whose state is shared by all players: one running square per weight, not one per player."""
    state: dict[Tensor, Any] = {}

    def make(weights: "list[nn.Parameter]") -> "Optimizer":
        import torch

        def load(optimizer: "Optimizer", *_: object) -> None:
            optimizer.state.update({w: state[w] for w in weights if w in state})

        def store(optimizer: "Optimizer", *_: object) -> None:
            state.update(optimizer.state)

        optimizer = torch.optim.Adam(weights, lr=lr, betas=(0.0, 0.99))
        optimizer.register_step_pre_hook(load)
        optimizer.register_step_post_hook(store)
        optimizer.register_load_state_dict_post_hook(store)
        return optimizer

    return make
