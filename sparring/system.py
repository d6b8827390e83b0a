"""The one idea: a system is networks, a table of players, and a `round` that yields a `Move` per optimizer step.

When the line after a `yield` runs, that step has been taken. The referee takes it; nothing else does.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sparring.errors import SparringError, abbreviated, require_int, unknown_name_error
from sparring.machine import free_memory, to_device
from sparring.seeds import isolated, make_generator, standard_defaults

NextBatch = Callable[[str], tuple[Tensor, Tensor | None]]
"""`feed("train")` gives the next batch of a stream: images (B, C, H, W) in [-1, 1], and labels (B,) int64 or None.

Where numbers were measured for each image, they come in the place of labels: (B, K) floats.
"""


def next_labeled(feed: NextBatch, stream: str = "train") -> tuple[Tensor, Tensor]:
    """The stream's next batch with its labels. Raises SparringError when the data has none."""
    x, y = feed(stream)
    if y is None:
        raise SparringError(f"the images of '{stream}' have no labels, and this system learns from labels")
    return x, y


class Move:
    """One player's turn: the loss it minimizes with its own weights, and numbers worth logging.

    loss     a scalar; only the weights of `player` receive a gradient from it
    numbers  scalars (tensors are detached here); logged under their names beside the loss
    """

    def __init__(self, player: str, loss: Tensor, **numbers: Tensor | float) -> None:
        self.player = player
        self.loss = loss
        self.numbers = {k: v.detach() if isinstance(v, Tensor) else torch.tensor(v) for k, v in numbers.items()}


NOISE_DISTRIBUTIONS: dict[str, Callable[[torch.Generator, tuple[int, ...]], Tensor]] = {}
"""Kinds of noise by name: a generator and a shape -> float32 tensor on the CPU."""


def register_noise(name: str) -> Callable[[Callable], Callable]:
    return lambda function: NOISE_DISTRIBUTIONS.setdefault(name, function)


@register_noise("normal")
def normal(g: torch.Generator, shape: tuple[int, ...]) -> Tensor:
    """N(0, 1)."""
    return torch.randn(shape, generator=g)


@register_noise("uniform")
def uniform(g: torch.Generator, shape: tuple[int, ...]) -> Tensor:
    """U(-1, 1)."""
    return torch.rand(shape, generator=g).mul_(2).sub_(1)


@register_noise("unit-uniform")
def unit_uniform(g: torch.Generator, shape: tuple[int, ...]) -> Tensor:
    """U(-sqrt 3, sqrt 3), whose variance is 1."""
    return uniform(g, shape).mul_(3**0.5)


@register_noise("truncated")
def truncated(g: torch.Generator, shape: tuple[int, ...]) -> Tensor:
    """N(0, 1) within [-2, 2]."""
    return truncated_normal(g, shape, 2.0)


def truncated_noise(kind: str, g: torch.Generator, shape: tuple[int, ...], threshold: float) -> Tensor:
    """Noise of that kind whose numbers beyond +- threshold are drawn again (Brock et al. 2019, section 3.1).

    Raises SparringError for a threshold that is not positive, and for spherical noise, whose length is fixed.
    """
    if not threshold > 0:
        raise SparringError(f"truncation is {threshold}: it must be above 0 (2 cuts little, .5 much)")
    if kind == "uniform":
        return uniform(g, shape) * min(threshold, 1.0)
    if kind == "unit-uniform":
        return uniform(g, shape) * min(threshold, 3**0.5)
    if kind == "spherical":
        raise SparringError("truncation: spherical noise has one length, and nothing of it can be cut")
    return truncated_normal(g, shape, min(threshold, 2.0) if kind == "truncated" else threshold)


def truncated_normal(g: torch.Generator, shape: tuple[int, ...], threshold: float) -> Tensor:
    """N(0, 1) within [-threshold, threshold], as if what lies beyond were drawn again until it does not.

    By inverting the distribution function: the same distribution, in one step for the smallest threshold.
    """
    share = torch.special.erf(torch.tensor(threshold, dtype=torch.float64) / 2**0.5)
    u = torch.rand(shape, generator=g, dtype=torch.float64) * 2 - 1
    return (torch.special.erfinv(u * share) * 2**0.5).float()


@register_noise("spherical")
def spherical(g: torch.Generator, shape: tuple[int, ...]) -> Tensor:
    """Uniform on the sphere of radius sqrt(d), where N(0, 1) in d dimensions concentrates."""
    z = torch.randn(shape, generator=g)
    return z * (shape[-1] ** 0.5 / z.norm(dim=-1, keepdim=True))


def resolve_precision(wish: str, device: torch.device) -> torch.dtype:
    """The dtype of autocast: "fp32", "bf16", or "auto" = bf16 where the hardware multiplies it natively.

    Raises SparringError for another wish. fp16 is not offered: it needs loss scaling per player.
    """
    if wish not in ("auto", "fp32", "bf16"):
        raise SparringError(f"precision is '{wish}': it must be auto, fp32 or bf16")
    if wish == "auto":
        cpu = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
        native = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else cpu
        return torch.bfloat16 if native else torch.float32
    return torch.bfloat16 if wish == "bf16" else torch.float32


@dataclass
class ShardedRng:
    """The random numbers of one share of a round.

    Every share (a process, or a piece of an accumulated batch) walks through the same sequence of global draws and
    keeps its own rows, so that one process with 2N images, two with N, and two pieces of N see the same numbers.
    """

    generator: torch.Generator
    share: int = 0
    shares: int = 1

    def rows(self, draw: Callable[[torch.Generator, int], Tensor], n: int) -> Tensor:
        """(n, ...) rows of the next global draw of `n * shares` rows: `draw(generator, rows)`."""
        every = draw(self.generator, n * self.shares)
        return every[self.share * n : (self.share + 1) * n]


def require_memory(needed: int, what: str, advice: str) -> None:
    """Raises SparringError where so many bytes are not free: before they are asked for."""
    free = free_memory()
    if free is not None and needed > free:
        raise SparringError(
            f"{what} would take {needed / 2**30:,.1f} GiB of memory, and {free / 2**30:,.1f} are free: {advice}"
        )


def _checked_count(ability: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`ability(self, n, seed=...)` whose numbers are looked at before anything is made."""

    @functools.wraps(ability)
    def checked(self: System, n: int, **options: object) -> Tensor:
        n = require_int("n", n)
        require_int("seed", options.get("seed", 0), least=0)
        truncation = options.get("truncation")
        if truncation is not None and (not isinstance(truncation, int | float) or not math.isfinite(truncation)):
            raise SparringError(f"truncation is {abbreviated(truncation)}: it must be a finite number")
        require_memory(4 * n * max(1, self.latent_dim), f"{n:,} codes", "ask for fewer at a time")
        return ability(self, n, **options)

    return checked


MAX_GRID_COLUMNS = 32
"""With more kinds of samples than this, a grid has no column for each."""


def grid_columns_for(kinds: int) -> int:
    """Columns of a grid of samples that come in each of so many kinds in turn: one for each, where they fit."""
    return kinds if kinds <= MAX_GRID_COLUMNS else 8


class System(nn.Module):
    """A game: networks as attributes, `players`, and one `round`.

    players   player -> names of the networks it moves; players may overlap
    ema_networks  networks shown to the world through an exponential moving average (EMA) of their weights
    classes   how many classes `sample(labels=...)` can be asked for; 0: it takes no labels
    spherical_latent  the way from one code to another is along the sphere that codes of N(0, 1) lie near; False:
    straight
    columns   of a grid of samples; where samples come in each class in turn, one column per class
    precision of the images it makes (`pictures`); the referee, and who opens a run, set it to that of training
    batchwise what of its round sees the whole batch, or draws numbers for it by itself (dropout), and so is not the
              same for pieces of the batch, or shares of several processes; layers say so by the same name

    Whatever lives from round to round must be a parameter or a buffer, so that it is saved with the weights.
    What a system can do beside playing is an ability: a method of `CAPABILITIES` that it defines.
    """

    players: Mapping[str, tuple[str, ...]] = {}
    ema_networks: ClassVar[tuple[str, ...]] = ()
    # Abilities, each only where a system defines it.
    sample: Callable[..., Tensor]
    score: Callable[..., Tensor]
    classify: Callable[[Tensor], Tensor]
    encode: Callable[..., Tensor]
    decode: Callable[..., Tensor]
    reconstruct: Callable[..., Tensor]
    sample_latents: Callable[..., Tensor]
    traversals: Callable[[], Mapping[str, Tensor]]
    cluster: Callable[[Tensor], Tensor]
    kl: Callable[[Tensor], Tensor]
    log_likelihood: Callable[..., Tensor]
    equilibrium: Callable[[], dict[str, float]]
    translate: Callable[[Tensor, int], Tensor]

    latent_dim: int = 0
    noise_distribution: str = "normal"
    classes: int = 0
    grid_columns: int = 8
    spherical_latent: bool = False
    precision: torch.dtype = torch.float32
    batchwise: str = ""

    def __init__(self) -> None:
        super().__init__()
        self.draws: ShardedRng | None = None
        self._played = 0

    round: Callable[[NextBatch], Generator[Move, None, None]]
    """The algorithm box of the paper, one `yield Move(...)` for each optimizer step; every system defines it."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if not inspect.isgeneratorfunction(getattr(cls, "round", None)):
            raise TypeError(f"{cls.__name__}.round never yields: a round yields a Move for every optimizer step")
        for name in CAPABILITIES.keys() & cls.__dict__.keys():
            if cls.__dict__[name] is not None:  # None: an ability that a subclass has not
                setattr(cls, name, standard_defaults()(cls.__dict__[name]))
                if name in ("sample", "sample_latents"):
                    setattr(cls, name, _checked_count(cls.__dict__[name]))

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def round_index(self) -> int:
        """Rounds before this one. The referee keeps count, as several copies of a round may be played.

        A layer that changes with time has an attribute `round_index` of its own, and is told.
        """
        return self._played

    @round_index.setter
    def round_index(self, rounds: int) -> None:
        self._played = rounds
        for layer in self.modules():
            if "round_index" in layer.__dict__:
                layer.round_index = rounds  # type: ignore[assignment]

    @property
    def rng(self) -> ShardedRng:
        """The round's random numbers; outside a round those of the global generator."""
        return self.draws or ShardedRng(torch.default_generator)

    def draw_rows(self, draw: Callable[[torch.Generator, int], Tensor], n: int) -> Tensor:
        """(n, ...) rows of `draw(generator, rows)`, from the round's own draws: codes of a prior, for instance."""
        return to_device(self.rng.rows(draw, n).to(next(self.parameters()).dtype), self.device)

    def noise(self, n: int) -> Tensor:
        """(n, latent) codes of the system's kind of noise, from the round's own draws."""
        return self.draw_rows(
            lambda g, rows: NOISE_DISTRIBUTIONS[self.noise_distribution](g, (rows, self.latent_dim)), n
        )

    def uniform(self, n: int) -> Tensor:
        """(n,) numbers from U(0, 1), from the round's own draws."""
        return self.draw_rows(lambda g, rows: torch.rand(rows, generator=g), n)

    def random_labels(self, n: int) -> Tensor:
        """(n,) int64 labels, each class equally likely, from the round's own draws."""
        return (self.uniform(n) * self.classes).long().clamp_(max=self.classes - 1)

    def codes(self, n: int, seed: int, truncation: float | None = None) -> Tensor:
        """(n, latent) noise that depends on the arguments only: what samples start from.

        truncation  every number beyond +- this is drawn again: fewer kinds of better images
        """
        g, shape = make_generator("sample", seed), (n, self.latent_dim)
        z = (
            NOISE_DISTRIBUTIONS[self.noise_distribution](g, shape)
            if truncation is None
            else truncated_noise(self.noise_distribution, g, shape, truncation)
        )
        return z.to(next(self.parameters()))

    def expand_labels(self, n: int, labels: int | Sequence[int] | Tensor | None) -> Tensor:
        """(n,) int64 labels to sample with: one for all, a sequence that is repeated up to n, or None: each in turn.

        Raises SparringError for a label that is no class of this system.
        """
        try:
            asked = torch.arange(self.classes) if labels is None else torch.as_tensor(labels).reshape(-1)
        except (TypeError, ValueError, RuntimeError):  # words, None in a list, more than 63 bits
            raise SparringError(f"labels are {abbreviated(labels)}: give numbers of classes") from None
        if asked.is_floating_point() or asked.is_complex():
            raise SparringError(f"labels are {abbreviated(labels)}: give numbers of classes")
        if not len(asked) or int(asked.min()) < 0 or int(asked.max()) >= self.classes:
            wrong = next((int(y) for y in asked if not 0 <= int(y) < self.classes), "nothing")
            raise SparringError(f"label {wrong} is no class: {type(self).__name__} knows 0 to {self.classes - 1}")
        return asked.long().repeat(-(-n // len(asked)))[:n].to(self.device)

    def run_batched(
        self, network: nn.Module, *inputs: Tensor, size: int = 250, precision: torch.dtype = torch.float32
    ) -> Tensor:
        """`network(*inputs)` in evaluation mode, `size` rows at a time, as float32 on the CPU.

        Layers that stay random in evaluation mode draw from a fixed seed: equal inputs give equal outputs. There are
        gradients only if an input asks for them (codes that are being looked for).
        """
        wanted = torch.is_grad_enabled() and any(one.requires_grad for one in inputs)
        autocast = torch.autocast(self.device.type, precision, enabled=precision != torch.float32)
        with isolated(0, self.device, network), torch.set_grad_enabled(wanted), autocast:
            was_training = network.training
            network.eval()
            try:
                pieces: list[Tensor] = []
                for rows in zip(*(one.split(size) for one in inputs), strict=True):
                    pieces.append(network(*(one.to(self.device) for one in rows)).float().cpu())
                    if len(pieces) == 1 < len(inputs[0]) / size:
                        needed = 2 * pieces[0][:1].nbytes * len(inputs[0])  # the pieces, and all in one
                        require_memory(needed, f"what comes of {len(inputs[0]):,} inputs", "ask for fewer at a time")
            finally:
                network.train(was_training)
        return torch.cat(pieces)

    def generate_images(self, network: nn.Module, *inputs: Tensor, size: int = 250) -> Tensor:
        """`run_batched` of a network that makes images, in `self.precision`, as it was trained.

        In float32 where gradients are asked for, as codes, scores and classes always are.
        """
        exact = torch.is_grad_enabled() and any(one.requires_grad for one in inputs)
        precision = torch.float32 if exact else self.precision
        return self.run_batched(network, *inputs, size=size, precision=precision)

    @property
    def growing(self) -> bool:
        """Whether its networks do not make images in full detail yet."""
        return False

    def supports(self, ability: str) -> bool:
        """Whether this system has the ability (a key of ABILITIES)."""
        if ability not in CAPABILITIES:
            raise unknown_name_error("ability", ability, CAPABILITIES)
        return callable(getattr(self, ability, None))


CAPABILITIES: dict[str, str] = {
    "sample": "sample(n, *, seed=0) -> (n, C, H, W) images in [-1, 1]; with `classes` also labels=",
    "score": "score(images) -> (n,) the judge's scores, higher = more real; perhaps also labels=",
    "classify": "classify(images) -> (n, classes) log-probabilities",
    "encode": "encode(images) -> (n, code) codes of images, without noise; where they have noise, drawn with seed=",
    "decode": "decode(codes) -> (n, C, H, W) images in [-1, 1] of codes (n, code); perhaps also labels=",
    "reconstruct": "reconstruct(images) -> the images of their codes; perhaps also labels=",
    "sample_latents": "prior_codes(n, *, seed=0) -> (n, code) codes as they are in samples: what `decode` takes, and "
    "`encode` should give; perhaps also labels=, truncation=",
    "traversals": "walks() -> {title: (rows, columns, code)} codes worth looking at",
    "cluster": "cluster(images) -> (n, clusters) log-probabilities of clusters that no label has named",
    "kl": "divergence(images) -> (n, latent) KL of each unit's code from the prior, in nats",
    "log_likelihood": "log_likelihood(images, *, draws=100, seed=0) -> (n,) log p(x) in nats, estimated from below",
    "equilibrium": "equilibrium() -> {player: its loss where neither player can gain}",
    "translate": "translate(images, to) -> these images of one domain in the other: 0 or 1, as the data's classes",
}
"""What systems can do beside playing. Reports, evaluation and command line ask `system.can(...)`, never for a class."""
