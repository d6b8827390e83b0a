"""Kadurin et al. 2017, "The cornucopia of meaningful leads": an adversarial autoencoder of molecular fingerprints.

The code of a molecule at a concentration consists of a few fingerprint neurons, which follow a prior, and one neuron
for the growth of cells. So fingerprints can be generated for a desired growth.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.data.molecules import DEVIATION, KEYS, MEAN, tanimoto, to_image, to_keys
from sparring.errors import SparringError
from sparring.losses import Game
from sparring.priors import Prior
from sparring.seeds import make_generator
from sparring.system import Move, NextBatch, System


class MolecularAAE(System):
    """Four players; encoder, regressor and autoencoder share the trunk.

    trunk     (B, 166 + 1) keys in [0, 1] and log10 concentration -> (B, features)
    code      (B, features) -> (B, latent) fingerprint neurons
    growth    (B, features) -> (B, 1) growth of cells: 1 = as without the molecule, -1 = all dead
    decoder   (B, latent + 1) fingerprint neurons and growth -> (B, 166 + 1) logits of keys and log10 concentration
    D         (B, latent) -> (B, 1) scores (logits): from the prior, or from a molecule?
    prior     of the fingerprint neurons
    game      the pair of losses (sparring.losses.GAMES)
    manifold  weight of the manifold cost in the encoder's loss
    The feed gives fingerprints (B, 1, 13, 13) in [-1, 1] with values (B, 2): log10 concentration and growth.
    """

    players = {
        "discriminator": ("D",),
        "encoder": ("trunk", "code"),
        "regressor": ("trunk", "growth"),
        "autoencoder": ("trunk", "code", "growth", "decoder"),
    }
    ema_networks = ("trunk", "code", "growth", "decoder")
    takes = {
        "sample": {"growth"},
        "sample_latents": {"growth"},
        "encode": {"concentration"},
        "reconstruct": {"concentration"},
    }
    percentiles: Tensor

    def __init__(
        self,
        trunk: nn.Module,
        code: nn.Module,
        growth: nn.Module,
        decoder: nn.Module,
        D: nn.Module,
        *,
        prior: Prior,
        game: Game,
        manifold: float = 0.0,
    ) -> None:
        super().__init__()
        self.trunk, self.code, self.growth, self.decoder, self.D = trunk, code, growth, decoder, D
        self.latent_dim = prior.latent_dim
        self.prior, self.game, self.manifold = prior, game, manifold
        self.register_buffer("percentiles", torch.zeros(101))

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """One move of each player, each on its own batch of molecules."""
        x, _ = next_measurements(feed)
        with torch.no_grad():
            code = self.code(self.trunk(x))
        prior_score, code_score = self.D(self.draw_rows(self.prior.draw, len(x))), self.D(code)
        loss = self.game.discriminator(prior_score, code_score)
        yield Move("discriminator", loss, prior=prior_score.mean(), code=code_score.mean())

        x, _ = next_measurements(feed)
        adversarial = self.game.generator(self.D(self.code(self.trunk(x))))
        if self.manifold:
            manifold = self.manifold_cost(x[:, :KEYS])
            yield Move("encoder", adversarial + self.manifold * manifold, adversarial=adversarial, manifold=manifold)
        else:
            yield Move("encoder", adversarial)

        x, growth = next_measurements(feed)
        yield Move("regressor", F.mse_loss(self.growth(self.trunk(x)), growth))

        x, _ = next_measurements(feed)
        features = self.trunk(x)
        decoded = self.decoder(torch.cat([self.code(features), self.growth(features)], 1))
        keys = F.binary_cross_entropy_with_logits(decoded[:, :KEYS], x[:, :KEYS])
        concentration = F.mse_loss(decoded[:, KEYS:], x[:, KEYS:])
        yield Move("autoencoder", keys + concentration, nll_keys=keys, nll_concentration=concentration)

    def manifold_cost(self, keys: Tensor) -> Tensor:
        """Mean of 1 - cos between a molecule's codes at two concentrations from N(-5.82, 1.68^2); keys: (B, 166)."""
        concentrations = self.draw_rows(lambda g, n: MEAN + DEVIATION * torch.randn(n, 2, generator=g), len(keys))
        inputs = torch.cat([torch.cat([keys, c[:, None]], 1) for c in concentrations.unbind(1)])
        first, second = self.code(self.trunk(inputs)).chunk(2)
        return (1 - F.cosine_similarity(first, second)).mean()

    def set_growth_percentiles(self, growth: Tensor) -> None:
        """Stores the distribution of growth (M,), from which samples without an explicit growth draw."""
        self.percentiles.copy_(torch.quantile(growth.float(), torch.linspace(0, 1, 101)))

    def sample(self, n: int, *, seed: int = 0, growth: float | None = None) -> Tensor:
        """(n, 1, 13, 13) fingerprints in [-1, 1] for this growth of cells (default: distributed as in the data).

        The brightness of a pixel is the probability of its key; above 0 the key is more likely present than absent.
        """
        return self.decode(self.sample_latents(n, seed=seed, growth=growth))

    def sample_latents(self, n: int, *, seed: int = 0, growth: float | None = None) -> Tensor:
        """(n, latent + 1) fingerprint neurons from the prior, and the requested growth (default: as in the data)."""
        neurons = self.prior.draw(make_generator("sample", seed), n)
        rank = 100 * torch.rand(n, generator=make_generator("sample growth", seed))
        below, percentiles = rank.long(), self.percentiles.cpu()
        default = torch.lerp(percentiles[below], percentiles[below + 1], rank - below)
        growths = default if growth is None else torch.full((n,), float(growth))
        return torch.cat([neurons, growths[:, None]], 1)

    def encode(self, images: Tensor, *, concentration: float | Tensor = MEAN) -> Tensor:
        """(n, latent + 1) fingerprint neurons and predicted growth of (n, 1, 13, 13) fingerprints in [-1, 1].

        concentration  log10 of mol/l, one for all or (n,)
        """
        concentrations = torch.as_tensor(concentration, dtype=images.dtype).expand(len(images))
        features = self.run_batched(self.trunk, torch.cat([to_keys(images), concentrations[:, None]], 1))
        return torch.cat([self.run_batched(self.code, features), self.run_batched(self.growth, features)], 1)

    def decode(self, codes: Tensor) -> Tensor:
        """(n, 1, 13, 13) fingerprints in [-1, 1], as in `sample`, of (n, latent + 1) codes."""
        return to_image(self.generate_images(self.decoder, codes)[:, :KEYS].sigmoid())

    def reconstruct(self, images: Tensor, *, concentration: float | Tensor = MEAN) -> Tensor:
        """Reconstructions of (n, 1, 13, 13) fingerprints in [-1, 1]."""
        return self.decode(self.encode(images, concentration=concentration))

    def traversals(self) -> Mapping[str, Tensor]:
        """Title -> (rows, columns, latent + 1) codes to display."""
        neurons = self.prior.draw(make_generator("molecules"), 8)[:, None].expand(-1, 9, -1)
        growth = torch.linspace(float(self.percentiles[0]), float(self.percentiles[100]), 9)
        rows = torch.cat([neurons, growth[None, :, None].expand(8, -1, -1)], 2)
        return {"one molecule per row, growth from lowest to highest": rows}

    def screen(
        self, images: Tensor, n: int, *, growth: float = -1.0, generated: int = 640, seed: int = 0
    ) -> tuple[Tensor, Tensor]:
        """The n molecules most similar to generated ones: indices (n,) and similarities (n,), best first.

        images     (m, 1, 13, 13) candidate fingerprints in [-1, 1]
        growth     requested growth of cells; -1: all dead
        generated  number of fingerprints to generate; similarity is the Tanimoto similarity to the nearest of them

        The paper's last step: generate fingerprints for low growth and search PubChem for similar molecules.
        """
        if not 0 < n <= len(images):
            raise SparringError(f"n is {n}: it must be from 1 to the {len(images)} candidate molecules")
        targets = to_keys(self.sample(generated, seed=seed, growth=growth)) > 0.5
        nearest = torch.cat([tanimoto(rows > 0.5, targets).amax(1) for rows in to_keys(images).split(4096)])
        best = nearest.argsort(descending=True, stable=True)[:n]
        return best, nearest[best]

    def equilibrium(self) -> dict[str, float]:
        """The losses when codes and prior are indistinguishable, and codes do not depend on the concentration."""
        discriminator, encoder = self.game.equilibrium()
        return {"discriminator": discriminator, "encoder": encoder}


def next_measurements(feed: NextBatch) -> tuple[Tensor, Tensor]:
    """The next batch: (B, 166 + 1) keys and log10 concentration, and (B, 1) growth.

    Raises SparringError if the data has none.
    """
    x, values = feed("train")
    if values is None or values.ndim != 2:
        raise SparringError("the data has no concentration and growth: use molecules (nci, or a file of SMILES)")
    return torch.cat([to_keys(x), values[:, :1]], 1), values[:, 1:]
