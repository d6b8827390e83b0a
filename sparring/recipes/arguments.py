"""Arguments that many recipes share: types, ranges and help. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

if TYPE_CHECKING:
    from torch import nn

    from sparring import losses
    from sparring.data.dataset import Dataset
    from sparring.referee import MakeOptimizer
    from sparring.systems.gan import GAN

Latent = Annotated[int, Field(gt=0, le=65536, description="length of the latent code")]
Noise = Annotated[
    Literal["normal", "uniform", "unit-uniform", "truncated", "spherical"],
    Field(
        description="N(0, 1); U(-1, 1); U(-sqrt 3, sqrt 3), of variance 1; N(0, 1) within [-2, 2]; or uniform on the "
        "sphere of radius sqrt(latent_dim)"
    ),
]
Batch = Annotated[int, Field(gt=0, description="images per optimizer step, over all processes")]
Rate = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, description="learning rate")]
EmaDecay = Annotated[
    float,
    Field(
        ge=0,
        lt=1,
        description="decay per round of the exponential moving average (EMA) of the weights, used for sampling; 0: "
        "use the live weights",
    ),
]
Width = Annotated[int, Field(gt=0, description="channels of the layer next to the image")]
Units = Annotated[int, Field(gt=0, description="units of each hidden layer")]
LatentLength = Annotated[int, Field(gt=0, le=4096, description="length of the latent code")]
Labeled = Annotated[int, Field(ge=0, description="labeled images, equally many per class; 0: all")]
AffineStrength = Annotated[
    float,
    Field(
        ge=0,
        le=2,
        description="random affine distortion in training; 1: 15 degrees, 15 % scale and shear, shifts of 1/14",
    ),
]
DiscriminatorSteps = Annotated[
    int, Field(ge=1, description="discriminator moves per round, each on new images (k of algorithm 1), e.g. 2")
]
CriticSteps = Annotated[int, Field(ge=1, description="critic moves per round")]
GpWeight = Annotated[float, Field(ge=0, allow_inf_nan=False, description="weight of the gradient penalty (lambda)")]
Beta1 = Annotated[float, Field(ge=0, lt=1, description="beta 1 of Adam")]
NImages = Annotated[int, Field(ge=0, description="train on the first so many images only; 0: all")]


@dataclass(frozen=True)
class Adam:
    """Adam for both players of a GAN (Kingma and Ba 2015)."""

    discriminator_lr: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, description="D's learning rate")]
    generator_lr: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, description="G's learning rate")]
    beta1: Annotated[float, Field(ge=0, lt=1, description="Adam's momentum")] = 0.5

    def optimizers(self, *, beta2: float = 0.999) -> dict[str, MakeOptimizer]:
        """Player -> function that makes its optimizer."""
        import torch

        adam = partial(torch.optim.Adam, betas=(self.beta1, beta2))
        return {
            "discriminator": partial(adam, lr=self.discriminator_lr),
            "generator": partial(adam, lr=self.generator_lr),
        }


def first(n_images: int) -> Callable[[Dataset, int], Mapping[str, Dataset]]:
    """The streams of a recipe that trains on the first `n_images` images, or on all (0)."""

    def streams(dataset: Dataset, seed: int) -> Mapping[str, Dataset]:
        return {"train": dataset.rows(slice(0, n_images)) if 0 < n_images < len(dataset) else dataset}

    return streams


def labeled_or_all(dataset: Dataset, n_labeled: int, batch: int, seed: int) -> Dataset:
    """The stream of labeled images: `n_labeled` of them, repeated to fill a batch, or all (0)."""
    return dataset.labeled_subset(n_labeled, seed).repeated(batch) if n_labeled else dataset


LabelNoise = Annotated[
    float,
    Field(
        ge=-0.5,
        le=0.5,
        description="this times U(0, 1) is added to every such target; inward: -0.3 for label 1, 0.3 for label 0",
    ),
]
GameName = Literal["minimax", "non-saturating", "least-squares", "hinge", "wasserstein"]
Game = Annotated[GameName, Field(description="the pair of losses")]


@dataclass(frozen=True)
class GANOptions:
    """Options of the GAN game: losses, targets, fakes and batches."""

    game: Game = "non-saturating"
    real_label: Annotated[float, Field(description="D's target for real images (CSC321: 0)")] = 1.0
    fake_label: Annotated[
        float, Field(description="D's target for generated images (CSC321: 1); if equal, nothing is learned")
    ] = 0.0
    label_smoothing: Annotated[
        float, Field(ge=0, le=0.5, description="one-sided label smoothing: moves the real target by this much")
    ] = 0.0
    real_label_noise: LabelNoise = 0.0
    fake_label_noise: LabelNoise = 0.0
    label_flip_prob: Annotated[float, Field(ge=0, le=0.5, description="probability that a target is swapped")] = 0.0
    half_d_loss: Annotated[bool, Field(description="multiply the discriminator's loss by 1/2")] = False
    discriminator_steps: DiscriminatorSteps = 1
    resample_noise: Annotated[
        bool, Field(description="new latent codes for the generator's step; no: reuse the fakes")
    ] = True
    joint_batch: Annotated[bool, Field(description="real and generated images in one batch of D; no: two batches")] = (
        False
    )

    def make_game(self) -> losses.Game:
        """The pair of losses with these targets."""
        from sparring.losses import game

        return game(
            self.game,
            real_label=self.real_label,
            fake_label=self.fake_label,
            label_smoothing=self.label_smoothing,
            real_label_noise=self.real_label_noise,
            fake_label_noise=self.fake_label_noise,
            label_flip_prob=self.label_flip_prob,
            half_d_loss=self.half_d_loss,
        )

    def gan_kwargs(self, *, latent_dim: int, noise: str) -> dict[str, Any]:
        """Keyword arguments of `GAN` and of its subclasses with the same options."""
        return {
            "latent_dim": latent_dim,
            "game": self.make_game(),
            "noise": noise,
            "discriminator_steps": self.discriminator_steps,
            "resample_noise": self.resample_noise,
            "joint_batch": self.joint_batch,
        }

    def make_gan(self, G: nn.Module, D: nn.Module, *, latent_dim: int, noise: str) -> GAN:
        """A GAN of these two networks with these options."""
        from sparring.systems.gan import GAN

        return GAN(G, D, **self.gan_kwargs(latent_dim=latent_dim, noise=noise))


@dataclass(frozen=True)
class MLPOptions:
    """Layers of the fully connected networks of a course's GAN."""

    output: Annotated[
        Literal["tanh", "sigmoid", "unscaled-sigmoid"],
        Field(
            description="output of G: tanh; sigmoid, with images rescaled to [0, 1] for D; or unscaled-sigmoid, the "
            "wrong answer: pixels in [0, 1] and images in [-1, 1]"
        ),
    ] = "tanh"
    activation: Annotated[
        Literal["relu", "leaky-relu", "relu+leaky-relu", "tanh"],
        Field(description="activation of the hidden layers; relu+leaky-relu: ReLU in G, LeakyReLU in D"),
    ] = "leaky-relu"
    norm: Annotated[
        Literal["none", "batch", "layer"],
        Field(description="norm after each hidden layer of G, and of D but for its first, e.g. batch"),
    ] = "none"

    def networks(
        self,
        latent_dim: int,
        shape: tuple[int, int, int],
        *,
        generator: list[int],
        discriminator: list[int],
        slope: float,
        dropout: float = 0.0,
    ) -> tuple[nn.Module, nn.Module]:
        """G, (B, latent) -> (B, *shape), and D, (B, *shape) -> (B, 1), with hidden layers of these widths.

        slope    of LeakyReLU
        dropout  probability, after each hidden layer
        """
        from sparring.networks import mlp

        of_g, of_d = (partial(make, slope) for make in mlp.ACTIVATIONS[self.activation])
        return (
            mlp.generator(
                latent_dim, generator, shape, activation=of_g, dropout=dropout, output=self.output, norm=self.norm
            ),
            mlp.discriminator(
                shape,
                discriminator,
                activation=of_d,
                dropout=dropout,
                unit_range=self.output == "sigmoid",
                norm=self.norm,
            ),
        )

    @property
    def caveats(self) -> tuple[str, ...]:
        """Sentences to print before a training with these layers."""
        if self.output != "unscaled-sigmoid":
            return ()
        return (
            "G's pixels are in [0, 1], those of the images in [-1, 1]: no sample is darker than mid-gray, which D "
            "detects; --output sigmoid rescales both",
        )
