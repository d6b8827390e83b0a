"""Games (pairs of losses on scores) and penalties. One function per equation; its scale is in the docstring.

Scores are logits, (B,) or (B, 1), higher = "real" unless the targets are swapped. Everything is computed in the
precision of the arguments: float32 or better, as the referee ensures.
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


def require_alike(a: Tensor, b: Target) -> None:
    """Raises SparringError for tensors with different shapes: (B, 1) - (B,) would silently broadcast to (B, B)."""
    if isinstance(b, Tensor) and a.shape != b.shape:
        raise SparringError(f"shapes must be equal; got {tuple(a.shape)} and {tuple(b.shape)}")


def cross_entropy(scores: Tensor, target: Target) -> Tensor:
    """Mean of max(s, 0) - s t + log(1 + exp(-|s|)): binary cross-entropy on logits, stable at any s."""
    require_alike(scores, target)
    return (F.softplus(scores) - scores * target).mean()


def squared_error(scores: Tensor, target: Target) -> Tensor:
    """Mao et al. 2017, eq. 2: 1/2 E (s - t)^2."""
    require_alike(scores, target)
    return 0.5 * (scores - target).square().mean()


@dataclass(frozen=True)
class Targets:
    """Targets of the discriminator's scores, with optional smoothing, noise and flips.

    real, fake  the targets; CSC321 swaps them (real 0, fake 1). If they are equal, nothing can be learned
    smoothing   one-sided label smoothing (Salimans et al. 2016): moves the real target this fraction toward fake
    real_noise, fake_noise  this times U(0, 1) is added to every target of real and of generated images; Chollet 2017:
                .05 to both, so that his label 1 becomes up to 1.05; ganhacks 6: smoothing .3, then .5 to real (.7 to
                1.2) and .3 to fake (0 to .3)
    flip_prob   fraction of each batch with flipped targets (ganhacks 6)
    uniform     n -> (n,) numbers from U(0, 1), used for noise and flips

    Raises SparringError for values that are not finite or out of range, and for different labels whose targets are
    equal or reversed on average.
    """

    real: float = 1.0
    fake: float = 0.0
    smoothing: float = 0.0
    real_noise: float = 0.0
    fake_noise: float = 0.0
    flip_prob: float = 0.0
    uniform: Callable[[int], Tensor] = field(default=torch.rand, repr=False, compare=False)

    def __post_init__(self) -> None:
        least = {"real": -math.inf, "fake": -math.inf, "real_noise": -0.5, "fake_noise": -0.5}
        for name in ("real", "fake", "smoothing", "real_noise", "fake_noise", "flip_prob"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise SparringError(f"label {name} is {abbreviated(value)}: it must be a finite number")
            if name not in ("real", "fake") and not least.get(name, 0) <= value <= 0.5:
                raise SparringError(f"label {name} is {value}: it must lie in [{least.get(name, 0):g}, 0.5]")
        real, fake = self.means()
        if self.real == self.fake and real != fake:
            raise SparringError(f"real and fake labels are both {self.real:g}: label noise must be equal, too")
        if self.real != self.fake and (math.isclose(real, fake) or (real > fake) != (self.real > self.fake)):
            raise SparringError(
                f"with smoothing {self.smoothing:g}, noise {self.real_noise:g} and {self.fake_noise:g}, and flip_prob "
                f"{self.flip_prob:g} the targets are {real:g} and {fake:g} on average, which leaves no training "
                "signal: lower one of them"
            )

    def for_real(self, scores: Tensor) -> Target:
        """Targets of real images, of the same shape as `scores`, or one number for all."""
        smoothed = self.real + self.smoothing * (self.fake - self.real)
        return self._perturb((smoothed, self.real_noise), (self.fake, self.fake_noise), scores)

    def for_fake(self, scores: Tensor) -> Target:
        """Targets of generated images, of the same shape as `scores`, or one number for all."""
        return self._perturb((self.fake, self.fake_noise), (self.real, self.real_noise), scores)

    def _perturb(self, target: tuple[float, float], other: tuple[float, float], scores: Tensor) -> Target:
        """`target`, a pair of label and noise, or `other` where flipped."""
        if not self.is_random:
            return target[0]
        flipped, u = (self.uniform(scores.numel()).to(scores).view_as(scores) for _ in range(2))
        return torch.where(flipped < self.flip_prob, other[0] + other[1] * u, target[0] + target[1] * u)

    @property
    def is_random(self) -> bool:
        """Whether targets have noise or flips."""
        return bool(self.real_noise or self.fake_noise or self.flip_prob)

    def means(self) -> tuple[float, float]:
        """Expected (real, fake) targets, on which the equilibrium depends."""
        smoothed = self.real + self.smoothing * (self.fake - self.real)
        real, fake, f = self.real + self.real_noise / 2, self.fake + self.fake_noise / 2, self.flip_prob
        return (1 - f) * (smoothed + self.real_noise / 2) + f * fake, (1 - f) * fake + f * real

    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest possible target."""
        smoothed = self.real + self.smoothing * (self.fake - self.real)
        flippable = [(self.real, self.real_noise)] if self.flip_prob else []
        pairs = [(smoothed, self.real_noise), (self.fake, self.fake_noise), *flippable]
        ends = [label + share * noise for label, noise in pairs for share in (0, 1)]
        return min(ends), max(ends)


@dataclass(frozen=True)
class Game:
    """A pair of losses on scores.

    discriminator_loss(real, fake, targets), generator_loss(fake, targets) -> scalar
    neutral_score(targets) -> the score at which a discriminator that cannot distinguish real from fake settles
    uses_targets  whether the losses depend on targets (those of hinge and Wasserstein do not)
    targets       real and fake targets
    half_d_loss   multiply the discriminator's loss by 1/2
    """

    name: str
    discriminator_loss: Callable[[Tensor, Tensor, Targets], Tensor]
    generator_loss: Callable[[Tensor, Targets], Tensor]
    neutral_score: Callable[[Targets], float]
    uses_targets: bool = True
    targets: Targets = field(default_factory=Targets)
    half_d_loss: bool = False

    def discriminator(self, real: Tensor, fake: Tensor, *, uniform: Callable[[int], Tensor] = torch.rand) -> Tensor:
        """The discriminator's loss on scores of real and of generated images.

        uniform  n -> (n,) numbers from U(0, 1), used for noise and flips of targets
        """
        targets = replace(self.targets, uniform=uniform) if self.targets.is_random else self.targets
        loss = self.discriminator_loss(real, fake, targets)
        return loss / 2 if self.half_d_loss else loss

    def generator(self, fake: Tensor) -> Tensor:
        """The generator's loss on scores of generated images."""
        return self.generator_loss(fake, self.targets)

    @property
    def direction_of_real(self) -> int:
        """1 if a higher score means "real", -1 if the targets are swapped."""
        return 1 if self.targets.real >= self.targets.fake else -1

    def caveats(self) -> tuple[str, ...]:
        """Sentences to print before a training with these targets."""
        if not self.uses_targets:
            return ()
        real, fake = self.targets.real, self.targets.fake
        if real == fake:
            return (
                f"real and generated images have the same label, {real:g}: D learns one score for all images, G's "
                "gradient vanishes, and samples will not resemble the images; --real-label 1 --fake-label 0 is a game",
            )
        low, high = self.targets.bounds()
        if self.discriminator_loss is _cross_entropies and not 0 <= low <= high <= 1:
            return (
                f"targets reach {low if low < 0 else high:g}, which is not a probability: such a cross-entropy has no "
                "minimum, so D's scores can grow without bound and its loss can become negative",
            )
        return ()

    def equilibrium(self) -> tuple[float, float]:
        """(discriminator's, generator's) loss when generated and real images are indistinguishable."""
        score = torch.full((1,), self.neutral_score(self.targets), dtype=torch.float64)
        score = score.clamp(-1e3, 1e3)  # infinite if both targets are 0 or 1; cross-entropy is then 0, also at 1e3
        real, fake = self.targets.means()
        expected = replace(self, targets=Targets(real, fake)) if self.uses_targets else self
        return float(expected.discriminator(score, score)), float(self.generator(score))


def _cross_entropies(real: Tensor, fake: Tensor, targets: Targets) -> Tensor:
    """Goodfellow et al. 2014, eq. 1, as a sum of two cross-entropies (2 log 2 at equilibrium, not halved)."""
    return cross_entropy(real, targets.for_real(real)) + cross_entropy(fake, targets.for_fake(fake))


def _saturating(fake: Tensor, targets: Targets) -> Tensor:
    """Goodfellow et al. 2014, eq. 1: the generator descends log(1 - D(G(z)))."""
    return -cross_entropy(fake, targets.fake)


def _non_saturating(fake: Tensor, targets: Targets) -> Tensor:
    """Goodfellow et al. 2014, section 3: the generator ascends log D(G(z))."""
    return cross_entropy(fake, targets.real)


def _neutral_logit(targets: Targets) -> float:
    """log(p / (1 - p)) where p is the mean target: Goodfellow et al. 2014, proposition 1 with p_g = p_data."""
    p = sum(targets.means()) / 2
    return math.copysign(math.inf, p - 0.5) if p in (0, 1) else math.log(p / (1 - p))


def _squared_errors(real: Tensor, fake: Tensor, targets: Targets) -> Tensor:
    """Mao et al. 2017, eq. 2: 1/2 E (D(x) - b)^2 + 1/2 E (D(G(z)) - a)^2 with b = targets.real, a = targets.fake."""
    return squared_error(real, targets.for_real(real)) + squared_error(fake, targets.for_fake(fake))


def _lsgan_generator(fake: Tensor, targets: Targets) -> Tensor:
    """Mao et al. 2017, eq. 2: 1/2 E (D(G(z)) - c)^2 with c = b (eq. 9: a, b, c = 0, 1, 1)."""
    return squared_error(fake, targets.real)


def _hinges(real: Tensor, fake: Tensor, targets: Targets) -> Tensor:
    """Lim and Ye 2017, eq. 7: E max(0, 1 - D(x)) + E max(0, 1 + D(G(z)))."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def _distance(real: Tensor, fake: Tensor, targets: Targets) -> Tensor:
    """Arjovsky et al. 2017, eq. 3, to be minimized: E D(G(z)) - E D(x)."""
    return fake.mean() - real.mean()


def _raise_score(fake: Tensor, targets: Targets) -> Tensor:
    """The generator of hinge and Wasserstein games raises its scores: -E D(G(z))."""
    return -fake.mean()


def _zero(targets: Targets) -> float:
    return 0.0


GAMES: dict[str, Game] = {
    game.name: game
    for game in (
        Game("minimax", _cross_entropies, _saturating, _neutral_logit),
        Game("non-saturating", _cross_entropies, _non_saturating, _neutral_logit),
        Game("least-squares", _squared_errors, _lsgan_generator, lambda targets: sum(targets.means()) / 2),
        Game("hinge", _hinges, _raise_score, _zero, uses_targets=False),
        Game("wasserstein", _distance, _raise_score, _zero, uses_targets=False),
    )
}


def game(
    name: str,
    *,
    real_label: float = 1.0,
    fake_label: float = 0.0,
    label_smoothing: float = 0.0,
    real_label_noise: float = 0.0,
    fake_label_noise: float = 0.0,
    label_flip_prob: float = 0.0,
    half_d_loss: bool = False,
) -> Game:
    """The game with this name (a key of GAMES), with these targets.

    Raises SparringError for an unknown name, for targets given to a game that does not use them, for cross-entropy
    labels other than 0 and 1, and for those whose mean target is not a probability.
    """
    if not isinstance(name, str) or name not in GAMES:
        raise unknown_name_error("game", str(name), GAMES)
    targets = Targets(real_label, fake_label, label_smoothing, real_label_noise, fake_label_noise, label_flip_prob)
    if targets != Targets() and not GAMES[name].uses_targets:
        raise SparringError(
            f"the {name} game does not use targets: remove real_label, fake_label, label_smoothing, real_label_noise, "
            "fake_label_noise and label_flip_prob"
        )
    if GAMES[name].discriminator_loss is _cross_entropies:
        if not {real_label, fake_label} <= {0.0, 1.0}:
            raise SparringError(
                f"cross-entropy labels are {real_label:g} and {fake_label:g}: they must be 0 or 1 (label_smoothing and "
                "label noise move them)"
            )
        mean = sum(targets.means()) / 2
        if not 0 < mean < 1 and not real_label == fake_label == mean:
            raise SparringError(f"the mean target is {mean:g}: it must be between 0 and 1, so lower the label noise")
    return replace(GAMES[name], targets=targets, half_d_loss=half_d_loss)


def relativistic(positive: Tensor, negative: Tensor) -> Tensor:
    """Jolicoeur-Martineau 2019 (RpGAN), as in Huang et al. 2024, eq. 2: E softplus(-(positive - negative)), by pairs.

    The discriminator minimizes it for (real, fake), the generator for (fake, real); log 2 if the scores are equal.
    Raises SparringError for scores with different shapes.
    """
    require_alike(positive, negative)
    return F.softplus(negative - positive).mean()


def interpolate(x: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
    """Gulrajani et al. 2017, algorithm 1, line 6: alpha x + (1 - alpha) fake, one alpha in [0, 1] per sample.

    x, fake: (B, ...); alpha: (B,). Raises SparringError for other shapes.
    """
    require_alike(x, fake)
    if alpha.shape != x.shape[:1]:
        raise SparringError(f"alpha must have one value for each of {len(x)} samples; got {tuple(alpha.shape)}")
    alpha = alpha.view(-1, *[1] * (x.ndim - 1))
    return alpha * x + (1 - alpha) * fake


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], x: Tensor, *, target: float = 0.0, scale: float = 1.0
) -> Tensor:
    """E (|grad D(x)| - target)^2, one norm per sample. R1 of Mescheder et al. 2018 is gamma/2 times it, target 0.

    critic  (B, ...) -> (B,) or (B, 1), with no dependence between samples (no batch norm)
    x       (B, ...)
    scale   the gradient is with respect to x / scale: 2 if x is in [-1, 1] and the paper's pixels are in [0, 1]

    `torch.func.grad` keeps the second-order term in eager mode and under torch.compile.
    """
    gradient = torch.func.grad(lambda images: critic(images).sum())(x).flatten(1)
    if target == 0:  # the norm has no gradient at 0
        penalty: Tensor = scale**2 * gradient.square().sum(1).mean()
    else:
        penalty = (scale * gradient.norm(dim=1) - target).square().mean()
    return penalty


def orthogonal_penalty(weights: Sequence[Tensor]) -> Tensor:
    """Brock et al. 2019, eq. 3: the sum over the weights of |W W^T o (1 - I)|^2, one row of W per output.

    Multiplied by beta/2 it has the gradient 2 beta (W W^T o (1 - I)) W of the authors' code. Raises SparringError for
    weights with fewer than two dimensions, and without weights.
    """
    if not weights or any(weight.ndim < 2 for weight in weights):
        raise SparringError("orthogonal_penalty needs one or more weights with at least two dimensions")
    penalty = torch.zeros((), device=weights[0].device)
    with torch.autocast(weights[0].device.type, enabled=False):
        for weight in weights:
            rows = weight.flatten(1)
            gram = rows @ rows.T
            penalty = penalty + gram.square().sum() - gram.diagonal().square().sum()
    return penalty


def half_squared_error(decoded: Tensor, x: Tensor) -> Tensor:
    """(B,) 1/2 |x - decoded|^2, summed over pixels in [0, 1]; both (B, C, H, W) in [-1, 1]."""
    require_alike(decoded, x)
    return ((decoded - x) / 2).square().flatten(1).sum(1) / 2


def bernoulli_nll(logits: Tensor, x: Tensor) -> Tensor:
    """(B,) -log p(x) in nats, every pixel of [0, 1] a Bernoulli variable (Kingma and Welling 2014, appendix C.1).

    logits: (B, C, H, W); x: the same shape in [-1, 1].
    """
    require_alike(logits, x)
    return (F.softplus(logits) - logits * (x + 1) / 2).flatten(1).sum(1)


def unit_gaussian_nll(mean: Tensor, x: Tensor) -> Tensor:
    """(B,) 1/2 |x - mean|^2: -log N(x; mean, I) without its constant (Larsen et al. 2016, eq. 7); both (B, ...)."""
    require_alike(mean, x)
    return (x - mean).square().flatten(1).sum(1) / 2


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """(B, d) KL(N(mean, variance) || N(0, 1)) of each unit in nats (Kingma and Welling 2014, appendix B)."""
    require_alike(mean, log_variance)
    return (mean.square() + log_variance.exp() - 1 - log_variance) / 2
