"""Brock et al. 2019, "Large Scale GAN Training for High Fidelity Natural Image Synthesis" (BigGAN)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator

import torch
from torch import Tensor, nn

from sparring.losses import GAMES, orthogonal_penalty
from sparring.noise import draw_noise
from sparring.seeds import make_generator
from sparring.system import LabelsLike, Move, NextBatch, next_labeled
from sparring.systems.cgan import ConditionalGAN


class BigGAN(ConditionalGAN):
    """A class-conditional GAN with the hinge loss and several discriminator steps per generator step.

    G, D, latent_dim, classes  as in ConditionalGAN; the class embedding is G.embedding
    discriminator_steps    discriminator moves per round, each with fresh data (2)
    ortho_weight           beta of eq. 3 (1e-4), which makes truncation work; 0: off
    standing_batches       batches of 64 codes and uniform classes on which batch norm statistics are recomputed before
                           sampling (section 4.1: 100; the authors' code: 16 of the training batch size)

    D sees real and generated images in one pass, as in the authors' code: its spectral norm takes one step of power
    iteration per move.
    """

    takes = {"sample": {"labels", "truncation"}, "decode": {"labels", "truncation"}}

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        *,
        latent_dim: int,
        classes: int,
        discriminator_steps: int = 2,
        ortho_weight: float = 1e-4,
        standing_batches: int = 16,
    ) -> None:
        super().__init__(
            G,
            D,
            latent_dim=latent_dim,
            classes=classes,
            game=GAMES["hinge"],
            discriminator_steps=discriminator_steps,
        )
        self.ortho_weight, self.standing_batches = ortho_weight, standing_batches
        self._cached: tuple[float | None, nn.Module] | None = None

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """Hinge losses; appendix C: several discriminator moves per generator move."""
        for _ in range(self.discriminator_steps):
            x, y = next_labeled(feed)
            fake_labels = self.random_labels(len(x))
            with torch.no_grad():
                fake = self.G(self.noise(len(x)), fake_labels)
            real_score, fake_score = self.D(torch.cat([x, fake]), torch.cat([y, fake_labels])).chunk(2)
            loss = self.game.discriminator(real_score, fake_score)
            yield Move("discriminator", loss, real=real_score.mean(), fake=fake_score.mean())

        fake_labels = self.random_labels(len(x))
        score = self.D(self.G(self.noise(len(x)), fake_labels), fake_labels)
        ortho = orthogonal_penalty(self.orthogonal_weights()) if self.ortho_weight else x.new_zeros(())
        yield Move("generator", self.game.generator(score) + self.ortho_weight / 2 * ortho, ortho=ortho)

    def orthogonal_weights(self) -> list[Tensor]:
        """G's weight matrices and kernels, including per-class tables of norms, excluding the shared embedding."""
        return [w for name, w in self.G.named_parameters() if w.ndim >= 2 and not name.startswith("embedding")]

    def sample(self, n: int, *, seed: int = 0, labels: LabelsLike = None, truncation: float | None = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] on the CPU; they depend on the weights and the arguments only.

        truncation  numbers of a code beyond +- this are resampled (section 3.1): less variety, better quality

        Raises SparringError for a truncation that is not positive, and for labels out of range.
        """
        codes = self.sample_latents(n, seed=seed, truncation=truncation)
        return self.decode(codes, labels=labels, truncation=truncation)

    def decode(self, codes: Tensor, *, labels: LabelsLike = None, truncation: float | None = None) -> Tensor:
        """(n, C, H, W) images in [-1, 1] of (n, latent) noise, drawn with this truncation, and the given classes."""
        labels = self.expand_labels(len(codes), labels)
        return self.generate_images(self.with_standing_stats(truncation), codes, labels)

    def with_standing_stats(self, truncation: float | None = None) -> nn.Module:
        """A copy of G with standing statistics for this truncation; cached until G's weights change."""
        if self._cached and self._cached[0] == truncation and _same_weights(self._cached[1], self.G):
            return self._cached[1]
        G, g, shape = copy.deepcopy(self.G), make_generator("standing statistics"), (64, self.latent_dim)

        def pass_through() -> None:
            z = draw_noise("normal", g, shape, truncation)
            y = torch.randint(self.classes, shape[:1], generator=g)
            G(z.to(next(self.parameters())), y.to(self.device))

        standing_statistics(G, pass_through, self.standing_batches)
        self._cached = truncation, G
        return G


def _same_weights(a: nn.Module, b: nn.Module) -> bool:
    """Whether two networks of the same architecture agree in everything but batch norm statistics."""
    pairs = zip(a.state_dict().items(), b.state_dict().values(), strict=True)
    return all(
        name.endswith(("running_mean", "running_var", "num_batches_tracked"))
        or (first.device == second.device and torch.equal(first, second))
        for (name, first), second in pairs
    )


@torch.no_grad()
def standing_statistics(network: nn.Module, forward: Callable[[], object], passes: int) -> None:
    """Section 4.1: replace the running mean and variance of every batch norm by their averages over `passes` batches.

    forward  runs the network once on a new batch, with codes and classes distributed as in sampling

    Only batch norms run in training mode; modes and momenta are restored afterwards.
    """
    modes = {module: module.training for module in network.modules()}
    norms = [module for module in modes if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
        norm.train()
    try:
        for _ in range(passes):
            forward()
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes.items():
            module.training = mode
