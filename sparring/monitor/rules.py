"""From observations to causes: pure functions of the rows, each with a limit that healthy trainings do not exceed.

A rule returns a number that is larger for worse trainings; it is red at or above its limit. A cause is reported when
its rule was red in CONSECUTIVE observations in a row, so that a single unusual batch has no effect. The limits come
from `benchmarks/monitor.py fit`: no healthy training of the tuning half reached them, with a margin.
docs/results/monitor.md gives their error rates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median

from sparring.monitor.observer import OBSERVED, PER_PLAYER, Row
from sparring.numbers import NUMBERS, PLAYERS

CONSECUTIVE = 3
"""Number of observations in a row in which a rule must be red."""

WINDOW = 3
"""Number of observations whose median is the current value."""

POOLED = 8
"""Number of observations to average numbers over that are too noisy in a single one."""

WARMUP, WARMUP_SHARE = 6, 0.1
"""Number of observations, and share of the planned rounds, before steps, latent codes and gradient penalties count."""

MATURE, MATURE_SHARE = 1000, 0.25
"""Number of rounds, or share of the recipe's length if that is less, before samples count: earlier, samples of healthy
trainings are poor, too.
"""

TREND = 0.4
"""A number is falling if its Kendall's tau with time is at most minus this."""

FAR_DISTANCE = 0.3
"""Samples at a larger distance from the images are not yet good."""

OPPONENTS = ("discriminator", "discriminators", "generator", "encoder")
"""Players whose losses cannot both fall."""

PLAYER_NUMBERS = {*PER_PLAYER, *NUMBERS}
"""Names of the numbers of a player in a row that rules may use."""

COMPARED = ("diversity", "neighbors", "edges", "checker")
"""Ratios of samples to images that together separate healthy from abnormal samples."""

USUAL: tuple[float, ...] = (-0.276, -0.446, -0.221, 0.802)
"""Means of the logarithms of COMPARED at the end of healthy trainings."""

SCALES: tuple[tuple[float, ...], ...] = (
    (4.994, 0.0, 0.0, 0.0),
    (-4.771, 4.18, 0.0, 0.0),
    (-11.463, 3.447, 3.885, 0.0),
    (2.558, -0.476, -1.897, 1.283),
)
"""Inverse of the lower Cholesky factor of their covariance: it whitens deviations from USUAL."""


@dataclass(frozen=True)
class Suspect:
    """A cause indicated by the rows.

    began     round of the first of the red observations in a row
    value     the rule's value divided by its limit, at least 1
    evidence  numbers of the last observation as text, by the names of the fields in `Cause.symptom`
    """

    cause: str
    began: int
    value: float
    evidence: Mapping[str, str]


class History:
    """The rows up to one observation, oldest first.

    equilibrium  player -> its loss at equilibrium
    rounds       planned number of rounds
    length       number of rounds the recipe is designed for
    warm         whether steps, latent codes and gradient penalties have settled
    mature       whether samples can be expected to be good
    """

    def __init__(self, rows: Sequence[Row], equilibrium: Mapping[str, float], rounds: int, length: int) -> None:
        self.rows, self.equilibrium = rows, equilibrium
        self.warm = len(rows) >= WARMUP and rows[-1]["round"] >= WARMUP_SHARE * rounds
        self.mature = self.warm and rows[-1]["round"] >= min(MATURE, MATURE_SHARE * length)
        self.players = [name.removesuffix(".step") for name in rows[-1] if name.endswith(".step")]
        self.ended = [p for p in self.players if rows[-1].get(f"{p}.lr") == 0 and any(self.of(f"{p}.lr"))]

    def of(self, name: str) -> list[float]:
        """All values of that number."""
        return [value for row in self.rows if (value := self.value(row, name)) is not None]

    def value(self, row: Row, name: str) -> float | None:
        """A number of a row; None if it is missing or not finite. Raises KeyError for a name that rows never have."""
        self._require_name(name)
        return row.get(name)

    def has(self, name: str) -> bool:
        """Whether the last row has that number. Raises KeyError for a name that rows never have."""
        self._require_name(name)
        return name in self.rows[-1]

    def _require_name(self, name: str) -> None:
        player, _, number = name.rpartition(".")
        if player:
            self._require_player(player)
        if number not in (PLAYER_NUMBERS if player else OBSERVED):
            raise KeyError(name)

    def _require_player(self, player: str) -> None:
        """Raises KeyError for a player that is neither in this training nor in any system of the library."""
        if player not in (*PLAYERS, *self.players, *self.equilibrium):
            raise KeyError(player)

    def now(self, name: str) -> float | None:
        """Median of the last WINDOW values; None if there are too few."""
        values = self.of(name)[-WINDOW:]
        return median(values) if len(values) == WINDOW else None

    def start(self, name: str) -> float | None:
        """Median of values 2 to 4: the first one still describes the initial weights."""
        values = self.of(name)[1 : 1 + WINDOW]
        return median(values) if len(values) == WINDOW else None

    def half(self, name: str) -> float | None:
        """Median of the last WINDOW values up to half of the rounds so far; None before samples are mature."""
        middle = self.rows[-1]["round"] / 2
        values = [self.value(row, name) for row in self.rows if row["round"] <= middle]
        first_half = [value for value in values if value is not None]
        return median(first_half[-WINDOW:]) if self.mature and len(first_half) >= WINDOW else None

    @property
    def second_half(self) -> list[Row]:
        """The rows after half of the rounds so far."""
        return [row for row in self.rows if row["round"] > self.rows[-1]["round"] / 2]

    def lately(self, name: str) -> list[float]:
        """All values of that number in the second half of the rounds so far."""
        return [value for row in self.second_half if (value := self.value(row, name)) is not None]

    def below(self, player: str) -> float | None:
        """How far a player's loss is below its equilibrium, as a share of the size of that equilibrium."""
        level, loss = self.level(player), self.now(f"{player}.loss")
        return None if level is None or loss is None else (level - loss) / max(abs(level), 0.5)

    def level(self, player: str) -> float | None:
        """The player's loss at equilibrium; None if it has none, or if there is no such player in this training."""
        self._require_player(player)
        return self.equilibrium.get(player)

    def logged(self, number: str) -> list[str]:
        """Names in the last row of this number, one for each player that logs it."""
        if number not in NUMBERS:
            raise KeyError(number)
        return [name for name in self.rows[-1] if name.endswith(f".{number}")]

    def pooled(self, name: str) -> float | None:
        """Mean of the last POOLED values; None if there are too few."""
        values = self.of(name)[-POOLED:]
        return mean(values) if len(values) == POOLED else None

    @property
    def getting_better(self) -> bool:
        """Whether samples keep getting closer to the images or, if they are too similar, more diverse."""
        similar = (self.now("diversity") or 1.0) < 0.7
        return falling(self.lately("distance")) or (similar and falling([-value for value in self.lately("diversity")]))

    @property
    def far(self) -> float:
        """Distance of samples from images: 0 if equal, 1 or more if they have nothing in common."""
        return self.now("distance") or 0.0


@dataclass(frozen=True)
class Rule:
    """A sign of a cause.

    cause  a key of `advice.CAUSES`
    value  a function of the rows: larger for worse trainings; None if it cannot be computed
    limit  the value at which the rule turns red
    """

    cause: str
    value: Callable[[History], float | None]
    limit: float


def divergence(h: History) -> float | None:
    """The largest growth of a loss, the scores or the weights since the start."""
    if any(value is None for value in h.rows[-1].values()):
        return math.inf
    growths = []
    for name in ["scores", *(f"{player}.{what}" for player in h.players for what in ("loss", "weights"))]:
        now, start = h.now(name), h.start(name)
        if now is not None and start is not None:
            growths.append(abs(now) / max(abs(start), 1.0))
    return max(growths, default=None)


def no_update(h: History) -> float | None:
    """1 / step of the slowest player whose schedule has not ended."""
    steps = [h.rows[-1][f"{player}.step"] for player in h.players if player not in h.ended]
    return 1 / max(min(steps), 1e-30) if steps else None


def large_steps(h: History) -> float | None:
    """The largest step of a player, as a share of the norm of its weights.

    A quarter of it while tiny initial weights may still be growing fast, and if samples are good or getting better (a
    clipped critic jumps between its bounds).
    """
    steps = [step for player in h.players if (step := h.now(f"{player}.step")) is not None]
    harmless = not h.mature or h.getting_better or (h.now("distance") is not None and h.far < FAR_DISTANCE)
    return max(steps) / (4 if harmless else 1) if steps and h.warm else None


def losses_inconsistent(h: History) -> float | None:
    """How far both losses are below equilibrium, which is impossible for opponents."""
    below = [gap for player in OPPONENTS if (gap := h.below(player)) is not None]
    return min(below) if len(below) == 2 else None


def schedule_ended(h: History) -> float | None:
    """Number of players whose learning rate has fallen to 0."""
    return float(len(h.ended))


def weak_discriminator(h: History) -> float | None:
    """How reliably the discriminator scores distant samples above images.

    Or, if the separation is negative, how far its loss is above equilibrium and the generator's below.
    """
    separation = h.now("separation")
    if separation is None or not h.warm:
        return None
    d_gap, g_gap = h.below("discriminator"), h.below("generator")
    lead = min(-d_gap, g_gap) if separation < 0 and d_gap is not None and g_gap is not None else 0.0
    return max(-separation, lead) * min(h.far / FAR_DISTANCE, 1.0)


def strong_discriminator(h: History) -> float | None:
    """How clearly the discriminator wins while samples are far from the images.

    It separates all of them and they do not get closer, or its loss has been far below equilibrium.
    """
    separation, half = h.now("separation"), h.half("distance")
    if separation is None or half is None or h.far <= FAR_DISTANCE:
        return None if separation is None or half is None else 0.0
    level, losses = h.level("discriminator"), h.of("discriminator.loss")[-POOLED:]
    lead = 1 - median(losses) / level if level and len(losses) == POOLED else 0.0
    return 0.0 if h.getting_better else max(separation * not_improving(h.far, half) / h.far, lead)


def weak_scores(h: History) -> float | None:
    """How little the discriminator separates samples that are far from the images and do not get closer.

    Or, in a game whose scores have a scale, how small its scores are.
    """
    separation, half, scores = h.now("separation"), h.half("distance"), h.now("scores")
    if separation is None or half is None or h.getting_better:
        return None if separation is None or half is None else 0.0
    inseparable = (1 - abs(separation)) * min(h.far * min(h.far / max(half, 1e-6), 1.0) / FAR_DISTANCE, 1.0)
    if scores is None or h.level("discriminator") is None:
        return max(inseparable, 0.0)
    return max(inseparable, min(h.far, FAR_DISTANCE) / max(scores, 0.01))


def mode_collapse(h: History) -> float | None:
    """How similar samples are, or how near (in fifths) to their nearest neighbor, unless that is improving.

    Nearest neighbors count only if a discriminator scores samples: samples of two-dimensional codes are always near
    each other.
    """
    values = []
    for name, share in (("diversity", 1.0), ("neighbors", 0.2 * h.has("separation"))):
        now, half = h.now(name), h.half(name)
        if now is not None and half is not None:
            lately = [1 / max(value, 0.01) for value in h.lately(name)]
            values.append(share * not_improving(1 / max(now, 0.01), 1 / max(half, 0.01), lately))
    return max(values, default=None)


def not_improving(now: float, half: float, lately: Sequence[float] = ()) -> float:
    """The value `now`, reduced if it has improved since half of the rounds; 0 while it keeps falling.

    An improvement by a sixth more than halves it.
    """
    return 0.0 if falling(lately) else now * min(now / max(half, 1e-6), 1.0) ** 4


def falling(values: Sequence[float]) -> bool:
    """Whether values fall over time: Kendall's tau with time is at most -TREND."""
    signs = [(b > a) - (b < a) for i, a in enumerate(values) for b in values[i + 1 :]]
    return len(values) >= 2 * WINDOW and sum(signs) <= -TREND * len(signs)


def value_range(h: History) -> float | None:
    """Difference in brightness, if the samples also miss or exceed an end of the images' value range."""
    level, half, ends = h.now("level"), h.half("level"), [h.now("darkest"), h.now("brightest")]
    if level is None or half is None:
        return None
    gap = max((abs(end) for end in ends if end is not None), default=0.0)
    return min(not_improving(abs(level), abs(half), [abs(value) for value in h.lately("level")]), 2 * gap)


def checkers(h: History) -> float | None:
    """Power of one-pixel stripes and checkerboards in samples over that in images, unless it has faded."""
    now, values = h.now("checker"), h.of("checker")
    return not_improving(now, max(values), h.lately("checker")) if now is not None and h.mature else None


def discriminator_overfit(h: History) -> float | None:
    """How much higher the discriminator scores training images than held-out ones, less twice the standard error.

    Few held-out images leave a large error: they are the same ones in every observation.
    """
    memory, error = h.pooled("memory"), h.now("memory_error")
    return None if memory is None or error is None else memory - 2 * error


def ema_lag(h: History) -> float | None:
    """How much farther samples of the EMA weights are from images than those of the live weights, if these are near."""
    pairs = [(h.value(row, "ema_distance"), h.value(row, "distance")) for row in h.rows]
    both = [(ema, live) for ema, live in pairs if ema is not None and live is not None]
    return min((ema - live) * (live < FAR_DISTANCE) for ema, live in both[-2:]) if len(both) > 1 else None


def posterior_collapse(h: History) -> float | None:
    """1 / KL divergence of the latent codes from the prior, in nats."""
    nats = [h.now(name) for name in h.logged("kl")]
    return 1 / max(nats[0], 1e-6) if nats and nats[0] is not None and h.warm else None


def labels_ignored(h: History) -> float | None:
    """1 - cosine similarity of the class means of samples and of images, once samples are good."""
    now = h.now("labels")
    return None if now is None or not h.mature else (1 - now) * (h.far < FAR_DISTANCE)


def gradient_penalty(h: History) -> float | None:
    """Mean squared deviation of the critic's gradient norm from 1."""
    penalty = h.now("critic.gradient_penalty")
    return penalty if h.warm else None


def abnormal_samples(h: History) -> float | None:
    """How far samples are from those of healthy trainings, unless that is improving."""
    if not h.has("separation"):
        return None
    now, half = oddness([h.now(name) for name in COMPARED]), oddness([h.half(name) for name in COMPARED])
    lately = [oddness([h.value(row, name) for name in COMPARED]) for row in h.second_half]
    if now is None or half is None:
        return None
    return not_improving(now, half, [value for value in lately if value is not None])


def oddness(ratios: Sequence[float | None]) -> float | None:
    """Mahalanobis distance of the log ratios from those of healthy trainings; None if a ratio is missing."""
    deviations = [math.log(max(r, 0.01)) - usual for r, usual in zip(ratios, USUAL, strict=True) if r is not None]
    if len(deviations) < len(USUAL):
        return None
    return math.hypot(*(sum(s * d for s, d in zip(scale, deviations, strict=True)) for scale in SCALES))


def no_progress(h: History) -> float | None:
    """Distance of samples from images, unless it is improving."""
    half = h.half("distance")
    return None if half is None else 0.0 if h.getting_better else not_improving(h.far, half)


RULES: tuple[Rule, ...] = (
    Rule("divergence", divergence, limit=10.0),
    Rule("schedule-ended", schedule_ended, limit=1.0),
    Rule("no-update", no_update, limit=1e8),
    Rule("losses-inconsistent", losses_inconsistent, limit=0.5),
    Rule("weak-discriminator", weak_discriminator, limit=0.5),
    Rule("large-steps", large_steps, limit=0.023),
    Rule("posterior-collapse", posterior_collapse, limit=2.0),
    Rule("gradient-penalty", gradient_penalty, limit=2.0),
    Rule("ema-lag", ema_lag, limit=0.3),
    Rule("mode-collapse", mode_collapse, limit=6.3),
    Rule("value-range", value_range, limit=0.6),
    Rule("weak-scores", weak_scores, limit=0.72),
    Rule("strong-discriminator", strong_discriminator, limit=0.7),
    Rule("checkerboard", checkers, limit=41.0),
    Rule("discriminator-overfit", discriminator_overfit, limit=0.25),
    Rule("labels-ignored", labels_ignored, limit=0.7),
    Rule("abnormal-samples", abnormal_samples, limit=6.6),
    Rule("no-progress", no_progress, limit=0.4),
)
"""Most mechanical first: if two turn red in the same observation, the first is more likely the cause."""


def evidence(h: History) -> dict[str, str]:
    """The last observation as text, by the names of the fields in `Cause.symptom`; "unknown" for missing numbers."""

    def of(name: str) -> str:
        value = h.now(name)
        return "unknown" if value is None else f"{value:.2g}"

    steps = {player: h.now(f"{player}.step") or 0.0 for player in h.players if player not in h.ended}
    fastest, slowest = max(steps, key=lambda p: steps[p], default=""), min(steps, key=lambda p: steps[p], default="")
    frozen = bool(steps) and no_update(h) is not None and steps[slowest] < 1e-8
    dark, bright = h.now("darkest") or 0.0, h.now("brightest") or 0.0
    growth, separation = divergence(h), h.now("separation")
    nats = h.logged("kl")
    memory = h.pooled("memory")
    names = ("ema_distance", "distance", "separation", "scores", "labels", *COMPARED)
    return {
        **{name: of(name) for name in names},
        "growth": "not finite" if growth is None or growth == math.inf else f"{growth:.3g} times since the start",
        "player": slowest if frozen else fastest,
        "step": f"{100 * max(steps.values(), default=0.0):.2g} %",
        "losses": "; ".join(
            f"{player} {of(f'{player}.loss')}, at equilibrium {level:.2g}" for player, level in h.equilibrium.items()
        ),
        "ended": " and ".join(h.ended),
        "fooled": "unknown" if separation is None else f"{50 - 50 * separation:.0f}",
        "end": "darkest" if abs(dark) > abs(bright) else "brightest",
        "gap": f"{100 * max(abs(dark), abs(bright)):.0f} %",
        "nats": of(nats[0]) if nats else "unknown",
        "gradient_penalty": of("critic.gradient_penalty"),
        "memory": "unknown" if memory is None else f"{50 + 50 * memory:.0f}",
    }


@dataclass(frozen=True)
class Findings:
    """Causes that the last observations indicate (`suspicions`, in the order of RULES) and rule out (`denied`)."""

    suspicions: list[Suspect]
    denied: list[str]


def findings(
    rows: Sequence[Row],
    equilibrium: Mapping[str, float],
    rounds: int,
    length: int,
    rules: Sequence[Rule] = RULES,
) -> Findings:
    """Causes whose rule was red in all of the last CONSECUTIVE observations, and causes whose rule was red in none.

    rows         all observations, oldest first
    equilibrium  player -> its loss at equilibrium
    rounds       planned number of rounds
    length       number of rounds the recipe is designed for
    """
    histories = [
        History(rows[: len(rows) - back], equilibrium, rounds, length) for back in range(min(CONSECUTIVE, len(rows)))
    ]
    suspects: list[Suspect] = []
    denied = []
    for rule in rules:
        values = [rule.value(h) for h in histories]
        red = [value is not None and value >= rule.limit for value in values]
        infinite = values[0] == math.inf
        if infinite or (len(red) == CONSECUTIVE and all(red)):
            began = rows[-1 if infinite else -CONSECUTIVE]["round"]
            assert values[0] is not None
            suspects.append(Suspect(rule.cause, began, values[0] / rule.limit, evidence(histories[0])))
        elif len(red) == CONSECUTIVE and not any(red):
            denied.append(rule.cause)
    return Findings(suspects, denied)
