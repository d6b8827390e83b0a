"""From looks to causes: pure functions of the rows, each with the limit that healthy trainings stay within.

A rule gives a number that is larger the worse it looks; it is red at or above its limit. A cause is told when its rule
was red in STREAK looks in a row, so that one odd batch says nothing. The limits come from `benchmarks/monitor.py fit`:
what no healthy training of the tuning half reached, with a margin. docs/results/monitor.md says how often they err.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median

from sparring.monitor.observer import Row

CONSECUTIVE = 3
"""Looks in a row that a rule must be red."""

WINDOW = 3
"""Looks whose median stands for "now"."""

POOL = 8
"""Looks whose mean stands for what one look is too small to see."""

WARM, WARM_SHARE = 6, 0.1
"""Looks, and share of the planned rounds, before anything is said of steps, codes and slopes, which settle first."""

RIPE, RIPE_SHARE = 1000, 0.25
"""Rounds, or if that is less the share of the recipe's own length, before anything is said of samples: until then those
of healthy trainings are poor, too.
"""

TREND = 0.4
"""Kendall's tau with time from which a number is taken to be falling."""

FAR = 0.3
"""Distance above which samples are not yet good."""

OPPONENTS = ("discriminator", "discriminators", "generator", "encoder")
"""Players whose losses cannot both fall."""


COMPARED = ("diversity", "neighbors", "edges", "checker")
"""Ratios of samples to images that together tell healthy samples from odd ones."""

USUAL: tuple[float, ...] = (-0.276, -0.446, -0.221, 0.802)
"""Mean of their logarithms at the end of healthy trainings."""

SCALES: tuple[tuple[float, ...], ...] = (
    (4.994, 0.0, 0.0, 0.0),
    (-4.771, 4.18, 0.0, 0.0),
    (-11.463, 3.447, 3.885, 0.0),
    (2.558, -0.476, -1.897, 1.283),
)
"""Inverse of the lower Cholesky factor of their covariance there: it makes deviations from USUAL independent and of
size 1.
"""


@dataclass(frozen=True)
class Suspect:
    """A cause that the rows speak of.

    began  round of the first look of the streak; value: of the rule, over its limit, at least 1
    seen   the last look in words, by the names that sentences use
    """

    cause: str
    began: int
    value: float
    seen: Mapping[str, str]


class History:
    """Rows up to one look, oldest first; what the losses are where neither player can gain; and the planned rounds.

    length  rounds that the recipe is made for, with its own settings
    warm    whether steps, codes and slopes have settled; ripe: whether samples may be judged
    """

    def __init__(self, rows: Sequence[Row], equilibrium: Mapping[str, float], rounds: int, length: int) -> None:
        self.rows, self.equilibrium = rows, equilibrium
        self.warm = len(rows) >= WARM and rows[-1]["round"] >= WARM_SHARE * rounds
        self.ripe = self.warm and rows[-1]["round"] >= min(RIPE, RIPE_SHARE * length)
        self.players = [name.removesuffix(".step") for name in rows[-1] if name.endswith(".step")]
        self.ended = [p for p in self.players if rows[-1].get(f"{p}.lr") == 0 and any(self.of(f"{p}.lr"))]

    def of(self, name: str) -> list[float]:
        """Every number of that name."""
        return [row[name] for row in self.rows if row.get(name) is not None]

    def now(self, name: str) -> float | None:
        """Median of the last looks; None when there are too few."""
        values = self.of(name)[-WINDOW:]
        return median(values) if len(values) == WINDOW else None

    def start(self, name: str) -> float | None:
        """Median of looks 2 to 4: the first one is still about the initial weights."""
        values = self.of(name)[1 : 1 + WINDOW]
        return median(values) if len(values) == WINDOW else None

    def half(self, name: str) -> float | None:
        """Median of the looks around half of the rounds so far; None before it is ripe."""
        middle = self.rows[-1]["round"] / 2
        before = [row[name] for row in self.rows if row["round"] <= middle and row.get(name) is not None]
        return median(before[-WINDOW:]) if self.ripe and len(before) >= WINDOW else None

    @property
    def second_half(self) -> list[Row]:
        """The looks after half of the rounds so far."""
        return [row for row in self.rows if row["round"] > self.rows[-1]["round"] / 2]

    def lately(self, name: str) -> list[float]:
        """Every number of that name in the second half of the rounds so far."""
        return [row[name] for row in self.second_half if row.get(name) is not None]

    def below(self, player: str) -> float | None:
        """How far a player's loss lies below where neither can gain, as a share of that level's size."""
        level, loss = self.equilibrium.get(player), self.now(f"{player}.loss")
        return None if level is None or loss is None else (level - loss) / max(abs(level), 0.5)

    def pooled(self, name: str) -> float | None:
        """Mean of the last POOL looks."""
        values = self.of(name)[-POOL:]
        return mean(values) if len(values) == POOL else None

    @property
    def getting_better(self) -> bool:
        """Whether samples keep coming nearer to images, or keep becoming more varied where they are too much alike."""
        alike = (self.now("diversity") or 1.0) < 0.7
        return falling(self.lately("distance")) or (alike and falling([-value for value in self.lately("diversity")]))

    @property
    def far(self) -> float:
        """How far samples are from real images now: 0 alike, 1 and more nothing in common."""
        return self.now("distance") or 0.0


Rule = Callable[[History], float | None]


def divergence(h: History) -> float | None:
    """The largest growth since the start of a loss, of scores or of weights."""
    if any(value is None for value in h.rows[-1].values()):
        return math.inf
    growths = []
    for name in ["scores", *(f"{player}.{what}" for player in h.players for what in ("loss", "weights"))]:
        now, start = h.now(name), h.start(name)
        if now is not None and start is not None:
            growths.append(abs(now) / max(abs(start), 1.0))
    return max(growths, default=None)


def no_update(h: History) -> float | None:
    """How close to standing still the slowest player is, of those whose schedule has not ended: 1 over its step."""
    steps = [h.rows[-1][f"{player}.step"] for player in h.players if player not in h.ended]
    return 1 / max(min(steps), 1e-30) if steps else None


def large_steps(h: History) -> float | None:
    """The largest step of a player, over the size of its weights; a quarter of it as long as weights that are born tiny
    may still be growing fast, and where samples are good or get better (a clipped critic jumps from bound to bound).
    """
    steps = [step for player in h.players if (step := h.now(f"{player}.step")) is not None]
    harmless = not h.ripe or h.getting_better or (h.now("distance") is not None and h.far < FAR)
    return max(steps) / (4 if harmless else 1) if steps and h.warm else None


def losses_inconsistent(h: History) -> float | None:
    """How far the losses of both players lie below where neither can gain: opponents cannot both win."""
    below = [gap for player in OPPONENTS if (gap := h.below(player)) is not None]
    return min(below) if len(below) == 2 else None


def schedule_ended(h: History) -> float | None:
    """How many players have a learning rate of 0 that was higher before."""
    return float(len(h.ended))


def weak_discriminator(h: History) -> float | None:
    """How surely the discriminator takes samples for real while they are far; or, where it leans to that side, how far
    its loss lies above where neither can gain and the generator's below.
    """
    apart = h.now("separation")
    if apart is None or not h.warm:
        return None
    above, below = h.below("discriminator"), h.below("generator")
    beaten = min(-above, below) if apart < 0 and above is not None and below is not None else 0.0
    return max(-apart, beaten) * min(h.far / FAR, 1.0)


def strong_discriminator(h: History) -> float | None:
    """How surely the judge wins while samples are far: it tells all of them and they do not get closer, or its loss
    has been far below where neither can gain.
    """
    apart, half = h.now("separation"), h.half("distance")
    if apart is None or half is None or h.far <= FAR:
        return None if apart is None or half is None else 0.0
    level, losses = h.equilibrium.get("discriminator"), h.of("discriminator.loss")[-POOL:]
    lead = 1 - median(losses) / level if level and len(losses) == POOL else 0.0
    return 0.0 if h.getting_better else max(apart * not_improving(h.far, half) / h.far, lead)


def weak_scores(h: History) -> float | None:
    """How little the judge tells apart what is far apart and does not get closer; or how small the scores are that it
    gives to it, in a game whose scores have a scale.
    """
    apart, half, scores = h.now("separation"), h.half("distance"), h.now("scores")
    if apart is None or half is None or h.getting_better:
        return None if apart is None or half is None else 0.0
    deaf = (1 - abs(apart)) * min(h.far * min(h.far / max(half, 1e-6), 1.0) / FAR, 1.0)
    mute = min(h.far, FAR) / max(scores, 0.01) if scores is not None and "discriminator" in h.equilibrium else 0.0
    return max(deaf, mute)


def mode_collapse(h: History) -> float | None:
    """How alike samples are, or how near (in fifths) to another one, where that does not get better. Nearness is asked
    only where a judge looks at samples: those of codes in a plane lie near each other anyway.
    """
    ills = []
    for name, share in (("diversity", 1.0), ("neighbors", 0.2 * ("separation" in h.rows[-1]))):
        now, half = h.now(name), h.half(name)
        if now is not None and half is not None:
            lately = [1 / max(value, 0.01) for value in h.lately(name)]
            ills.append(share * not_improving(1 / max(now, 0.01), 1 / max(half, 0.01), lately))
    return max(ills, default=None)


def not_improving(now: float, half: float, lately: Sequence[float] = ()) -> float:
    """An ill that is as large now as at half of the rounds, or larger; less than half as large if a sixth is gone; 0
    while it keeps falling.
    """
    return 0.0 if falling(lately) else now * min(now / max(half, 1e-6), 1.0) ** 4


def falling(values: Sequence[float]) -> bool:
    """Whether later ones are smaller: Kendall's tau with time at -TREND or below."""
    signs = [(b > a) - (b < a) for i, a in enumerate(values) for b in values[i + 1 :]]
    return len(values) >= 2 * WINDOW and sum(signs) <= -TREND * len(signs)


def value_range(h: History) -> float | None:
    """How much brighter or darker samples are, with an end of the range that they do not reach or exceed."""
    level, half, ends = h.now("level"), h.half("level"), [h.now("darkest"), h.now("brightest")]
    if level is None or half is None:
        return None
    gap = max((abs(end) for end in ends if end is not None), default=0.0)
    return min(not_improving(abs(level), abs(half), [abs(value) for value in h.lately("level")]), 2 * gap)


def checkers(h: History) -> float | None:
    """Stripes and checkers of one pixel in samples, over those in images, where they have not faded."""
    now, seen = h.now("checker"), h.of("checker")
    return not_improving(now, max(seen), h.lately("checker")) if now is not None and h.ripe else None


def discriminator_overfit(h: History) -> float | None:
    """How much higher the discriminator scores training images than held-out ones, less twice the standard error.

    Few held-out images leave a large error: they are the same ones in every observation.
    """
    memory, error = h.pooled("memory"), h.now("memory_error")
    return None if memory is None or error is None else memory - 2 * error


def ema_lag(h: History) -> float | None:
    """How much farther from images the averaged weights' samples are than the live ones', where these are near."""
    both = [(row["shown"], row["distance"]) for row in h.rows if row.get("shown") is not None]
    return min((shown - live) * (live < FAR) for shown, live in both[-2:]) if len(both) > 1 else None


def posterior_collapse(h: History) -> float | None:
    """How little the code tells, in 1 / nats."""
    nats = [h.now(name) for name in h.rows[-1] if name.endswith(".kl")]
    return 1 / max(nats[0], 1e-6) if nats and nats[0] is not None and h.warm else None


def labels_ignored(h: History) -> float | None:
    """How little classes of samples differ in what classes of images differ in, once samples are good."""
    now = h.now("labels")
    return None if now is None or not h.ripe else (1 - now) * (h.far < FAR)


def gradient_penalty(h: History) -> float | None:
    """Mean squared difference of the critic's slope from 1."""
    slopes = [h.now(name) for name in h.rows[-1] if name == "critic.gradient_penalty"]
    return slopes[0] if slopes and h.warm else None


def abnormal_samples(h: History) -> float | None:
    """How odd samples are beside those of healthy trainings, where that does not get better."""
    if "separation" not in h.rows[-1]:
        return None
    now, half = oddness([h.now(name) for name in COMPARED]), oddness([h.half(name) for name in COMPARED])
    lately = [oddness([row.get(name) for name in COMPARED]) for row in h.second_half]
    if now is None or half is None:
        return None
    return not_improving(now, half, [value for value in lately if value is not None])


def oddness(ratios: Sequence[float | None]) -> float | None:
    """Mahalanobis distance of the ratios' logarithms from those of healthy trainings, in standard deviations."""
    deviations = [math.log(max(r, 0.01)) - usual for r, usual in zip(ratios, USUAL, strict=True) if r is not None]
    if len(deviations) < len(USUAL):
        return None
    return math.hypot(*(sum(s * d for s, d in zip(scale, deviations, strict=True)) for scale in SCALES))


def no_progress(h: History) -> float | None:
    """How far samples are, where that does not get better."""
    half = h.half("distance")
    return None if half is None else 0.0 if h.getting_better else not_improving(h.far, half)


RULES: dict[str, Rule] = {
    "divergence": divergence,
    "schedule-ended": schedule_ended,
    "no-update": no_update,
    "losses-inconsistent": losses_inconsistent,
    "weak-discriminator": weak_discriminator,
    "large-steps": large_steps,
    "posterior-collapse": posterior_collapse,
    "gradient-penalty": gradient_penalty,
    "ema-lag": ema_lag,
    "mode-collapse": mode_collapse,
    "value-range": value_range,
    "weak-scores": weak_scores,
    "strong-discriminator": strong_discriminator,
    "checkerboard": checkers,
    "discriminator-overfit": discriminator_overfit,
    "labels-ignored": labels_ignored,
    "abnormal-samples": abnormal_samples,
    "no-progress": no_progress,
}
"""Cause -> rule, the most mechanical first: of two that turn red in the same look, the first is the likelier root."""

LIMITS: dict[str, float] = {
    "divergence": 10.0,
    "schedule-ended": 1.0,
    "no-update": 1e8,
    "losses-inconsistent": 0.5,
    "weak-discriminator": 0.5,
    "large-steps": 0.023,
    "posterior-collapse": 2.0,
    "gradient-penalty": 2.0,
    "ema-lag": 0.3,
    "mode-collapse": 6.3,
    "value-range": 0.6,
    "weak-scores": 0.72,
    "strong-discriminator": 0.7,
    "checkerboard": 41.0,
    "discriminator-overfit": 0.25,
    "labels-ignored": 0.7,
    "abnormal-samples": 6.6,
    "no-progress": 0.4,
}
"""Cause -> the value from which its rule is red."""


def evidence(h: History) -> dict[str, str]:
    """The last look in words, by the names that sentences use; "unknown" for what was not seen."""

    def of(name: str) -> str:
        value = h.now(name)
        return "unknown" if value is None else f"{value:.2g}"

    steps = {player: h.now(f"{player}.step") or 0.0 for player in h.players if player not in h.ended}
    fastest, slowest = max(steps, key=lambda p: steps[p], default=""), min(steps, key=lambda p: steps[p], default="")
    still = bool(steps) and no_update(h) is not None and steps[slowest] < 1e-8
    dark, bright = h.now("darkest") or 0.0, h.now("brightest") or 0.0
    growth, apart = divergence(h), h.now("separation")
    nats = [name for name in h.rows[-1] if name.endswith(".kl")]
    memory = h.pooled("memory")
    plain = ("shown", "distance", "separation", "scores", "labels", *COMPARED)
    return {
        **{name: of(name) for name in plain},
        "growth": "not finite" if growth is None or growth == math.inf else f"{growth:.3g} times since the start",
        "player": slowest if still else fastest,
        "step": f"{100 * max(steps.values(), default=0.0):.2g} %",
        "losses": "; ".join(
            f"{player} {of(f'{player}.loss')}, at equilibrium {level:.2g}" for player, level in h.equilibrium.items()
        ),
        "ended": " and ".join(h.ended),
        "fooled": "unknown" if apart is None else f"{50 - 50 * apart:.0f}",
        "end": "darkest" if abs(dark) > abs(bright) else "brightest",
        "gap": f"{100 * max(abs(dark), abs(bright)):.0f} %",
        "nats": of(nats[0]) if nats else "unknown",
        "gradient-penalty": of("critic.gradient_penalty"),
        "memory": "unknown" if memory is None else f"{50 + 50 * memory:.0f}",
    }


@dataclass(frozen=True)
class Findings:
    """What the last looks say: the causes that they speak of, in the order of RULES, and those that they deny."""

    suspicions: list[Suspect]
    denied: list[str]


def findings(
    rows: Sequence[Row],
    equilibrium: Mapping[str, float],
    rounds: int,
    length: int,
    limits: Mapping[str, float] = LIMITS,
) -> Findings:
    """Causes whose rule was red in each of the last STREAK looks, and those whose rule was red in none of them.

    rounds  how many are planned; length: what the recipe is made for
    """
    histories = [
        History(rows[: len(rows) - back], equilibrium, rounds, length) for back in range(min(CONSECUTIVE, len(rows)))
    ]
    found: list[Suspect] = []
    denied = []
    for cause, limit in limits.items():
        values = [RULES[cause](h) for h in histories]
        red = [value is not None and value >= limit for value in values]
        infinite = values[0] == math.inf
        if infinite or (len(red) == CONSECUTIVE and all(red)):
            began = rows[-1 if infinite else -CONSECUTIVE]["round"]
            assert values[0] is not None
            found.append(Suspect(cause, began, values[0] / limit, evidence(histories[0])))
        elif len(red) == CONSECUTIVE and not any(red):
            denied.append(cause)
    return Findings(found, denied)
