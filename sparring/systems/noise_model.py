"""Systems that generate images from noise: what GANs of all kinds share."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from sparring.system import LabelsLike, System, grid_columns_for


class NoiseModel(System):
    """A generator maps latent noise to images; a subclass adds the `round` that trains it.

    G           (B, latent) -> (B, C, H, W) in [-1, 1]
    latent_dim  length of a latent code
    noise       distribution of latent codes, a key of NOISE_DISTRIBUTIONS: "normal", "uniform" ...
    """

    ema_networks: ClassVar[tuple[str, ...]] = ("G",)
    takes = {"sample": {"truncation"}, "sample_latents": {"truncation"}}

    def __init__(self, G: nn.Module, *, latent_dim: int, noise: str = "normal") -> None:
        super().__init__()
        self.G = G
        self.latent_dim, self.noise_distribution = latent_dim, noise
        self.spherical_latent = not noise.endswith("uniform")

    def sample(self, n: int, *, seed: int = 0, truncation: float | None = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] on the CPU; they depend on the weights and the arguments only.

        truncation  numbers of a code beyond +- this are resampled: less variety, better quality
        """
        return self.decode(self.sample_latents(n, seed=seed, truncation=truncation))

    def sample_latents(self, n: int, *, seed: int = 0, truncation: float | None = None) -> Tensor:
        """(n, latent) noise."""
        return self.codes(n, seed, truncation)

    def decode(self, codes: Tensor) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of (n, latent) noise."""
        return self.generate_images(self.G, codes)


class ConditionalNoiseModel(NoiseModel):
    """A generator maps latent noise and a class to images.

    G        (B, latent), (B,) int64 -> (B, C, H, W) in [-1, 1]
    classes  number of classes
    latent_dim, noise  as in NoiseModel
    """

    takes = {"sample": {"labels", "truncation"}, "decode": {"labels"}}

    def __init__(self, G: nn.Module, *, latent_dim: int, classes: int, noise: str = "normal") -> None:
        super().__init__(G, latent_dim=latent_dim, noise=noise)
        self.classes, self.grid_columns = classes, grid_columns_for(classes)

    def sample(self, n: int, *, seed: int = 0, labels: LabelsLike = None, truncation: float | None = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of these classes (default: each in turn) on the CPU.

        truncation  numbers of a code beyond +- this are resampled: less variety, better quality
        """
        return self.decode(self.sample_latents(n, seed=seed, truncation=truncation), labels=labels)

    def decode(self, codes: Tensor, *, labels: LabelsLike = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of (n, latent) noise and these classes (default: each in turn)."""
        return self.generate_images(self.G, codes, self.expand_labels(len(codes), labels))
