"""Games (pairs of losses on scores) and penalties. One function, one equation; the scale is in the docstring.

Scores are logits, (B,) or (B, 1), higher = "real" unless the labels are swapped. Losses are computed in float32 or
better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.errors import SparringError, abbreviated, unknown_name_error

Target = float | Tensor


def to_float32(scores: Tensor) -> Tensor:
    """Scores as float32, or float64 if they are: bf16 has 8 bits of mantissa, too few for a mean of logarithms."""
    return scores if scores.dtype == torch.float64 else scores.float()


def require_alike(one: Tensor, other: Target) -> None:
    """Raises SparringError for tensors of two shapes: (B, 1) less (B,) would be (B, B) without a word."""
    if isinstance(other, Tensor) and one.shape != other.shape:
        raise SparringError(f"shapes must be equal; got {tuple(one.shape)} and {tuple(other.shape)}")


def cross_entropy(scores: Tensor, target: Target) -> Tensor:
    """Mean of max(s, 0) - s t + log(1 + exp(-|s|)): binary cross-entropy on logits, stable at any s."""
    require_alike(scores, target)
    s = to_float32(scores)
    return (F.softplus(s) - s * target).mean()


def squared_error(scores: Tensor, target: Target) -> Tensor:
    """Mao et al. 2017, eq. 2: 1/2 E (s - t)^2."""
    require_alike(scores, target)
    return 0.5 * (to_float32(scores) - target).square().mean()


@dataclass(frozen=True)
class Targets:
    """What the discriminator is told, and how it is lied to.

    real, fake  the targets; CSC321 swaps them (real 0, fake 1)
    label_smoothing  one-sided smoothing (Salimans et al. 2016): the real target moves this share of the way to fake
    noise       every target moves inwards by noise * U(0, 1) (Chollet 2017 uses .05 outwards, beyond the valid range)
    label_flip_prob  share of each batch whose target is the other one (ganhacks 6)
    uniform     n -> (n,) numbers from U(0, 1), which noise and flips are drawn from
    """

    real: float = 1.0
    fake: float = 0.0
    smoothing: float = 0.0
    noise: float = 0.0
    flip_prob: float = 0.0
    uniform: Callable[[int], Tensor] = field(default=torch.rand, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("real", "fake", "smoothing", "noise", "flip_prob"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise SparringError(f"label {name} is {abbreviated(value)}: it must be a finite number")
        if self.real == self.fake:
            raise SparringError(f"real and fake labels are both {self.real}: they must differ")
        for name in ("smoothing", "noise", "flip_prob"):
            if not 0 <= getattr(self, name) <= 0.5:
                raise SparringError(f"label {name} is {getattr(self, name)}: it must lie in [0, 0.5]")
        real, fake = self.means()
        if math.isclose(real, fake):
            raise SparringError(
                f"with flip_prob {self.flip_prob:g} and smoothing {self.smoothing:g} both targets are {real:g} on "
                "average, which tells nothing: lower one of the two"
            )

    def for_real(self, scores: Tensor) -> Target:
        start = self.real + self.smoothing * (self.fake - self.real)
        return self._lie(start, self.fake, scores)

    def for_fake(self, scores: Tensor) -> Target:
        return self._lie(self.fake, self.real, scores)

    def _lie(self, target: float, other: float, scores: Tensor) -> Target:
        if not self.noise and not self.flip_prob:
            return target
        full = to_float32(scores)
        flipped, towards = (self.uniform(full.numel()).to(full).view_as(full) for _ in range(2))
        flipped, towards = flipped < self.flip_prob, self.noise * towards
        return torch.where(flipped, other + towards * (target - other), target + towards * (other - target))

    def means(self) -> tuple[float, float]:
        """Expected real and fake targets: what the equilibrium depends on."""
        start = self.real + self.smoothing * (self.fake - self.real)
        gap = self.fake - start
        to_fake = start + gap * (self.noise / 2 + self.flip_prob * (1 - self.noise))
        back = self.real - self.fake
        to_real = self.fake + back * (self.noise / 2 + self.flip_prob * (1 - self.noise))
        return to_fake, to_real


@dataclass(frozen=True)
class Game:
    """A pair of losses on scores.

    discriminator(real, fake, labels), generator(fake, labels) -> scalar; `half_d_loss` multiplies the first by 1/2
    balance(labels) -> the score at which a discriminator that cannot tell real from fake stays
    labeled: whether labels mean anything here (hinge and Wasserstein have none)
    """

    name: str
    discriminator_loss: Callable[[Tensor, Tensor, Targets], Tensor]
    generator_loss: Callable[[Tensor, Targets], Tensor]
    neutral_score: Callable[[Targets], float]
    labeled: bool = True
    labels: Targets = field(default_factory=Targets)
    half_d_loss: bool = False

    def discriminator(self, real: Tensor, fake: Tensor, *, uniform: Callable[[int], Tensor] = torch.rand) -> Tensor:
        """The discriminator's loss on scores of real and of generated images.

        uniform  n -> (n,) numbers from U(0, 1), which flips and noise of labels are drawn from
        """
        drawn = self.labels.noise or self.labels.flip_prob
        labels = replace(self.labels, uniform=uniform) if drawn else self.labels
        loss = self.discriminator_loss(real, fake, labels)
        return loss / 2 if self.half_d_loss else loss

    def generator(self, fake: Tensor) -> Tensor:
        """The generator's loss on scores of its images."""
        return self.generator_loss(fake, self.labels)

    @property
    def direction_of_real(self) -> int:
        """1 where a higher score means "real", -1 where the labels are swapped."""
        return 1 if self.labels.real > self.labels.fake else -1

    def equilibrium(self) -> tuple[float, float]:
        """(discriminator's, generator's) loss when generated and real images cannot be told apart."""
        score = torch.full((1,), self.neutral_score(self.labels), dtype=torch.float64)
        real, fake = self.labels.means()
        told = replace(self, labels=Targets(real, fake)) if self.labeled else self
        return float(told.discriminator(score, score)), float(self.generator(score))


def _cross_entropies(real: Tensor, fake: Tensor, labels: Targets) -> Tensor:
    """Goodfellow et al. 2014, eq. 1, as a sum of two cross-entropies (2 log 2 at equilibrium, not halved)."""
    return cross_entropy(real, labels.for_real(real)) + cross_entropy(fake, labels.for_fake(fake))


def _saturating(fake: Tensor, labels: Targets) -> Tensor:
    """Goodfellow et al. 2014, eq. 1: the generator descends log(1 - D(G(z)))."""
    return -cross_entropy(fake, labels.fake)


def _non_saturating(fake: Tensor, labels: Targets) -> Tensor:
    """Goodfellow et al. 2014, section 3: the generator ascends log D(G(z))."""
    return cross_entropy(fake, labels.real)


def _neutral_logit(labels: Targets) -> float:
    """log(p / (1 - p)) where p is the mean target: Goodfellow et al. 2014, proposition 1 with p_g = p_data."""
    p = sum(labels.means()) / 2
    return math.log(p / (1 - p))


def _squared_errors(real: Tensor, fake: Tensor, labels: Targets) -> Tensor:
    """Mao et al. 2017, eq. 2: 1/2 E (D(x) - b)^2 + 1/2 E (D(G(z)) - a)^2 with b = labels.real, a = labels.fake."""
    return squared_error(real, labels.for_real(real)) + squared_error(fake, labels.for_fake(fake))


def _lsgan_generator(fake: Tensor, labels: Targets) -> Tensor:
    """Mao et al. 2017, eq. 2: 1/2 E (D(G(z)) - c)^2 with c = b (eq. 9: a, b, c = 0, 1, 1)."""
    return squared_error(fake, labels.real)


def _hinges(real: Tensor, fake: Tensor, labels: Targets) -> Tensor:
    """Lim and Ye 2017, eq. 7: E max(0, 1 - D(x)) + E max(0, 1 + D(G(z)))."""
    return F.relu(1 - to_float32(real)).mean() + F.relu(1 + to_float32(fake)).mean()


def _distance(real: Tensor, fake: Tensor, labels: Targets) -> Tensor:
    """Arjovsky et al. 2017, eq. 3, to be minimized: E D(G(z)) - E D(x)."""
    return to_float32(fake).mean() - to_float32(real).mean()


def _raise_score(fake: Tensor, labels: Targets) -> Tensor:
    """The generator of hinge and Wasserstein games raises its scores: -E D(G(z))."""
    return -to_float32(fake).mean()


def _zero(labels: Targets) -> float:
    return 0.0


GAMES: dict[str, Game] = {
    game.name: game
    for game in (
        Game("minimax", _cross_entropies, _saturating, _neutral_logit),
        Game("non-saturating", _cross_entropies, _non_saturating, _neutral_logit),
        Game("least-squares", _squared_errors, _lsgan_generator, lambda labels: sum(labels.means()) / 2),
        Game("hinge", _hinges, _raise_score, _zero, labeled=False),
        Game("wasserstein", _distance, _raise_score, _zero, labeled=False),
    )
}


def game(
    name: str,
    *,
    real_label: float = 1.0,
    fake_label: float = 0.0,
    label_smoothing: float = 0.0,
    label_noise: float = 0.0,
    label_flip_prob: float = 0.0,
    half_d_loss: bool = False,
) -> Game:
    """The game of that name (a key of GAMES), with these labels.

    Raises SparringError for an unknown name, for labels that a game without labels cannot use, and for cross-entropy
    targets outside [0, 1].
    """
    if not isinstance(name, str) or name not in GAMES:
        raise unknown_name_error("game", str(name), GAMES)
    labels = Targets(real_label, fake_label, label_smoothing, label_noise, label_flip_prob)
    if labels != Targets() and not GAMES[name].labeled:
        raise SparringError(
            f"the {name} game has no labels: real_label, fake_label, smooth, label_noise, flips do nothing"
        )
    if GAMES[name].discriminator_loss is _cross_entropies and not {real_label, fake_label} <= {0.0, 1.0}:
        raise SparringError(
            f"cross-entropy labels are {real_label:g} and {fake_label:g}: they must be 0 and 1 (smooth moves them)"
        )
    return replace(GAMES[name], labels=labels, half_d_loss=half_d_loss)


def relativistic(mine: Tensor, theirs: Tensor) -> Tensor:
    """Jolicoeur-Martineau 2019 (RpGAN), as in Huang et al. 2024, eq. 2: E softplus(-(mine - theirs)), pair by pair.

    The discriminator plays it with (real, fake), the generator with (fake, real); log 2 when neither stands out. Raises
    SparringError for scores of two shapes.
    """
    require_alike(mine, theirs)
    return F.softplus(to_float32(theirs) - to_float32(mine)).mean()


def interpolate(x: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """Gulrajani et al. 2017, algorithm 1, line 6: share x + (1 - share) fake, one share in [0, 1] per sample.

    x, fake: (B, ...); share: (B,). Raises SparringError for other shapes.
    """
    require_alike(x, fake)
    if share.shape != x.shape[:1]:
        raise SparringError(f"there must be a share for each of {len(x)} samples; got {tuple(share.shape)}")
    share = share.view(-1, *[1] * (x.ndim - 1))
    return share * x + (1 - share) * fake


def gradient_penalty(judge: Callable[[Tensor], Tensor], x: Tensor, *, target: float = 0.0) -> Tensor:
    """E (|grad_x D(x)| - target)^2, one norm per sample. R1 of Mescheder et al. 2018 is gamma/2 times it at 0.

    judge: (B, ...) -> (B,) or (B, 1), with no dependence between samples (no batch norm). x: (B, ...), any dtype.
    `torch.func.grad` keeps the second-order term in eager mode and under torch.compile.
    """
    slope = torch.func.grad(lambda images: to_float32(judge(images)).sum())(x)
    if target == 0:
        return to_float32(slope).flatten(1).square().sum(1).mean()
    return (to_float32(slope).flatten(1).norm(dim=1) - target).square().mean()


def orthogonal_penalty(weights: Sequence[Tensor]) -> Tensor:
    """Brock et al. 2019, eq. 3: the sum over the weights of |W W^T o (1 - I)|^2, one row of W per output.

    1/2 beta times it has the gradient 2 beta (W W^T o (1 - I)) W of the authors' code.
    """
    if not weights or any(weight.ndim < 2 for weight in weights):
        raise SparringError(
            "orthogonal are the rows of weights with two dimensions or more; give one or several of them"
        )
    skew = torch.zeros((), device=weights[0].device)
    with torch.autocast(weights[0].device.type, enabled=False):
        for weight in weights:
            rows = weight.flatten(1)
            gram = rows @ rows.T
            skew = skew + gram.square().sum() - gram.diagonal().square().sum()
    return skew


def half_squared_error(decoded: Tensor, x: Tensor) -> Tensor:
    """(B,) 1/2 |x - decoded|^2, summed over pixels in [0, 1]; both (B, C, H, W) in [-1, 1]."""
    require_alike(decoded, x)
    return ((to_float32(decoded) - x) / 2).square().flatten(1).sum(1) / 2


def bernoulli_nll(logits: Tensor, x: Tensor) -> Tensor:
    """(B,) -log p(x) in nats, every pixel of [0, 1] a Bernoulli variable (Kingma and Welling 2014, appendix C.1).

    logits: (B, C, H, W); x: the same shape in [-1, 1].
    """
    require_alike(logits, x)
    s = to_float32(logits)
    return (F.softplus(s) - s * (x + 1) / 2).flatten(1).sum(1)


def gaussian_nll(mean: Tensor, x: Tensor, *, std: float) -> Tensor:
    """(B,) -log p(x) in nats, every pixel of [0, 1] drawn from N(mean, std^2); both (B, C, H, W) in [-1, 1]."""
    if not 0 < std < math.inf:
        raise SparringError(f"std is {std:g}: it must be a positive number")
    pixels = mean[0].numel()
    return half_squared_error(mean, x) / std**2 + pixels * math.log(std * math.sqrt(2 * math.pi))


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """(B, d) KL(N(mean, variance) || N(0, 1)) of each unit in nats (Kingma and Welling 2014, appendix B)."""
    require_alike(mean, log_variance)
    mean, log_variance = to_float32(mean), to_float32(log_variance)
    return (mean.square() + log_variance.exp() - 1 - log_variance) / 2
