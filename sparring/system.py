"""A system: networks, a table of players, and a method `round` that yields a `Move` for each optimizer step.

Execution resumes after a `yield` once that optimizer step has been taken. Only the referee takes steps.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Container, Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import nullcontext
from typing import ClassVar

import torch
from torch import Tensor, nn

from sparring.device import to_device, without_tf32
from sparring.errors import SparringError, abbreviated, require_int, unknown_name_error
from sparring.machine import require_memory
from sparring.networks.scheduled import Scheduled
from sparring.noise import draw_noise
from sparring.seeds import CPU, ShardedRng, isolated, make_generator, standard_defaults

NextBatch = Callable[[str], tuple[Tensor, Tensor | None]]
"""`feed("train")` returns the next batch of a stream: images (B, C, H, W) in [-1, 1], and labels (B,) int64 or None.

If each image has regression targets, these take the place of labels: (B, K) floats.
"""


def next_labeled(feed: NextBatch, stream: str = "train") -> tuple[Tensor, Tensor]:
    """The stream's next batch with its labels. Raises SparringError if the data has no labels."""
    x, y = feed(stream)
    if y is None:
        raise SparringError(f"the images of '{stream}' have no labels, which this system needs: use labeled data")
    return x, y


LabelsLike = int | Sequence[int] | Tensor | None
"""Classes of images: one for all, a sequence that is repeated, or None for each in turn."""


class Move:
    """One optimizer step of a player: the loss it minimizes, and scalars to log.

    player   whose weights are updated; only they receive a gradient
    loss     a scalar
    numbers  scalars (tensors are detached here), logged under their names next to the loss; the names that the library
             uses are explained in `sparring.numbers.NUMBERS`

    known_numbers  if set, other names are refused with a ValueError, as in the tests of the library
    """

    known_numbers: ClassVar[Container[str] | None] = None

    def __init__(self, player: str, loss: Tensor, **numbers: Tensor | float) -> None:
        if self.known_numbers is not None and (unknown := [name for name in numbers if name not in self.known_numbers]):
            raise ValueError(f"a move of {player} logs '{unknown[0]}', which sparring.numbers.NUMBERS does not explain")
        self.player = player
        self.loss = loss
        self.numbers = {k: v.detach() if isinstance(v, Tensor) else torch.tensor(v) for k, v in numbers.items()}


def _checked_count(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`method(self, n, seed=...)` that checks its numbers and the free memory first."""

    @functools.wraps(method)
    def checked(self: System, n: int, **options: object) -> Tensor:
        n = require_int("n", n)
        require_int("seed", options.get("seed", 0), least=0)
        truncation = options.get("truncation")
        if truncation is not None and (not isinstance(truncation, int | float) or not math.isfinite(truncation)):
            raise SparringError(f"truncation is {abbreviated(truncation)}: it must be a finite number")
        require_memory(4 * n * max(1, self.latent_dim), f"{n:,} codes", "request fewer at a time")
        return method(self, n, **options)

    return checked


MAX_GRID_COLUMNS = 32
"""With more classes than this, a sample grid does not have one column per class."""


def grid_columns_for(kinds: int) -> int:
    """Columns of a grid of samples that cycle through `kinds` classes: one per class if they fit, else 8."""
    return kinds if kinds <= MAX_GRID_COLUMNS else 8


class System(nn.Module):
    """Networks as attributes, `players`, and one `round`: the algorithm of one paper.

    players       player -> names of the networks it updates; players may overlap
    ema_networks  networks that are sampled with an exponential moving average (EMA) of their weights
    latent_dim    length of a latent code
    noise_distribution  of latent codes, a key of NOISE_DISTRIBUTIONS
    classes       number of classes that `sample(labels=...)` accepts; 0: not class-conditional
    spherical_latent    interpolate between codes along the sphere near which codes of N(0, 1) lie; False: linearly
    grid_columns  columns of a sample grid; for class-conditional systems one per class
    translates_to  the domains that `translate` accepts as `to`: 0, 1 or both
    side_multiple  the sides of images for `translate` are multiples of it
    caveats       sentences to print before training, about settings whose effect the user may not expect
    precision     of generated images (`generate_images`): that of training, set by the referee or when a run is opened
    takes         capability -> the optional keyword arguments of its method: {"sample": {"labels", "truncation"}}. Each
                  class declares those of the methods it defines; those of inherited methods are added
    batchwise     what in the round depends on the whole batch, or draws its own random numbers (dropout), so that the
                  result depends on microbatches and processes; "" if nothing. Layers have the same attribute

    State that persists from round to round must be a parameter or a buffer, so that it is saved with the weights.
    Everything else a system can do is a method named in `CAPABILITIES`.
    """

    players: Mapping[str, tuple[str, ...]] = {}
    ema_networks: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[Mapping[str, AbstractSet[str]]] = {}
    # Capabilities: each exists only in systems that define it.
    sample: Callable[..., Tensor]
    score: Callable[..., Tensor]
    classify: Callable[[Tensor], Tensor]
    encode: Callable[..., Tensor]
    infer_codes: Callable[[Tensor], Tensor]
    decode: Callable[..., Tensor]
    reconstruct: Callable[..., Tensor]
    sample_latents: Callable[..., Tensor]
    traversals: Callable[[], Mapping[str, Tensor]]
    cluster: Callable[[Tensor], Tensor]
    kl: Callable[[Tensor], Tensor]
    log_likelihood: Callable[..., Tensor]
    equilibrium: Callable[[], dict[str, float]]
    translate: Callable[[Tensor, int], Tensor]
    screen: Callable[..., tuple[Tensor, Tensor]]

    latent_dim: int = 0
    noise_distribution: str = "normal"
    classes: int = 0
    grid_columns: int = 8
    spherical_latent: bool = False
    translates_to: tuple[int, ...] = (0, 1)
    side_multiple: int = 4
    precision: torch.dtype = torch.float32
    batchwise: str = ""
    caveats: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.draws: ShardedRng | None = None
        self._round_index = 0

    def round(self, feed: NextBatch) -> Generator[Move, None, None]:
        """The paper's algorithm, with one `yield Move(...)` for each optimizer step; every system defines it."""
        raise NotImplementedError(f"{type(self).__name__} has no round")

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "round" in cls.__dict__ and not inspect.isgeneratorfunction(cls.round):
            raise TypeError(f"{cls.__name__}.round never yields: a round yields a Move for every optimizer step")
        cls.takes = _all_options(cls)
        for name in CAPABILITIES.keys() & cls.__dict__.keys():
            if cls.__dict__[name] is not None:  # None: a capability that the subclass does not have
                setattr(cls, name, standard_defaults()(cls.__dict__[name]))
                if name in ("sample", "sample_latents"):
                    setattr(cls, name, _checked_count(cls.__dict__[name]))

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next((weight.device for weight in self.parameters()), CPU)

    @property
    def round_index(self) -> int:
        """Number of rounds before this one, set by the referee.

        Setting it also sets the round of all `Scheduled` layers.
        """
        return self._round_index

    @round_index.setter
    def round_index(self, rounds: int) -> None:
        self._round_index = rounds
        for layer in self.modules():
            if isinstance(layer, Scheduled):
                layer.set_round(rounds)

    @property
    def rng(self) -> ShardedRng:
        """The round's random numbers; outside a round, those of the global generator."""
        return self.draws or ShardedRng(torch.default_generator)

    def draw_rows(self, draw: Callable[[torch.Generator, int], Tensor], n: int) -> Tensor:
        """(n, ...) rows of `draw(generator, rows)` from `rng`, on the system's device, such as codes of a prior."""
        return to_device(self.rng.rows(draw, n).to(next(self.parameters()).dtype), self.device)

    def noise(self, n: int) -> Tensor:
        """(n, latent_dim) latent codes from `noise_distribution`, drawn from `rng`."""
        return self.draw_rows(lambda g, rows: draw_noise(self.noise_distribution, g, (rows, self.latent_dim)), n)

    def uniform(self, n: int) -> Tensor:
        """(n,) numbers from U(0, 1), drawn from `rng`."""
        return self.draw_rows(lambda g, rows: torch.rand(rows, generator=g), n)

    def random_labels(self, n: int) -> Tensor:
        """(n,) int64 labels, uniform over the classes, drawn from `rng`."""
        return (self.uniform(n) * self.classes).long().clamp_(max=self.classes - 1)

    def codes(self, n: int, seed: int, truncation: float | None = None) -> Tensor:
        """(n, latent_dim) latent codes for sampling, which depend on the arguments only.

        truncation  truncate the noise to [-truncation, truncation]: less diverse, better images
        """
        z = draw_noise(self.noise_distribution, make_generator("sample", seed), (n, self.latent_dim), truncation)
        return z.to(next(self.parameters()))

    def expand_labels(self, n: int, labels: LabelsLike) -> Tensor:
        """(n,) int64 labels for sampling: one label for all, a sequence to be repeated, or None to cycle the classes.

        Raises SparringError for labels that are not classes of this system.
        """
        try:
            y = torch.arange(self.classes) if labels is None else torch.as_tensor(labels).reshape(-1)
        except (TypeError, ValueError, RuntimeError):  # strings, None in a list, more than 64 bits
            raise SparringError(f"labels are {abbreviated(labels)}: give class indices") from None
        if y.is_floating_point() or y.is_complex():
            raise SparringError(f"labels are {abbreviated(labels)}: give class indices")
        if not len(y):
            raise SparringError(f"labels are empty: give class indices from 0 to {self.classes - 1}")
        if int(y.min()) < 0 or int(y.max()) >= self.classes:
            wrong = next(int(label) for label in y if not 0 <= int(label) < self.classes)
            raise SparringError(
                f"label {wrong} is out of range: {type(self).__name__} has classes 0 to {self.classes - 1}"
            )
        return y.long().repeat(-(-n // len(y)))[:n].to(self.device)

    def run_batched(
        self, network: nn.Module, *inputs: Tensor, size: int = 250, precision: torch.dtype = torch.float32
    ) -> Tensor:
        """`network(*inputs)` in evaluation mode, `size` rows at a time, as float32 on the CPU.

        Layers that are random in evaluation mode draw from a fixed seed: equal inputs give equal outputs. Gradients are
        computed only if an input requires them (as in inversion). On a GPU, float32 is without TF32.
        """
        with_grad = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
        autocast = torch.autocast(self.device.type, precision, enabled=precision != torch.float32)
        exact = without_tf32() if self.device.type != "cpu" and precision == torch.float32 else nullcontext()
        with isolated(0, self.device, network), torch.set_grad_enabled(with_grad), autocast, exact:
            was_training = network.training
            network.eval()
            try:
                outputs: list[Tensor] = []
                for rows in zip(*(x.split(size) for x in inputs), strict=True):
                    outputs.append(network(*(x.to(self.device) for x in rows)).float().cpu())
                    if len(outputs) == 1 < len(inputs[0]) / size:
                        needed = 2 * outputs[0][:1].nbytes * len(inputs[0])  # the batches and their concatenation
                        require_memory(needed, f"the output for {len(inputs[0]):,} inputs", "request fewer at a time")
            finally:
                network.train(was_training)
        return torch.cat(outputs)

    def generate_images(self, network: nn.Module, *inputs: Tensor, size: int = 250) -> Tensor:
        """`run_batched` for a network that generates images, in `self.precision`, the precision of training.

        In float32 if an input requires gradients. (Codes, scores and classes are always computed in float32.)
        """
        exact = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
        precision = torch.float32 if exact else self.precision
        return self.run_batched(network, *inputs, size=size, precision=precision)

    @property
    def growing(self) -> bool:
        """Whether the networks are still growing, so that images lack their full detail."""
        return False

    def supports(self, capability: str) -> bool:
        """Whether this system has the capability (a key of CAPABILITIES). Raises SparringError for another name."""
        if capability not in CAPABILITIES:
            raise unknown_name_error("capability", capability, CAPABILITIES)
        return callable(getattr(self, capability, None))

    def accepts(self, capability: str, option: str) -> bool:
        """Whether this system's capability takes the optional keyword argument: `accepts("score", "labels")`.

        False if the system does not have the capability. Raises SparringError for an unknown capability.
        """
        return self.supports(capability) and option in self.takes.get(capability, ())


CAPABILITIES: dict[str, str] = {
    "sample": "sample(n, *, seed=0) -> (n, C, H, W) images in [-1, 1]; with `classes` also labels=",
    "score": "score(images) -> (n,) scores of the discriminator, higher = more real; may take labels=",
    "classify": "classify(images) -> (n, classes) log-probabilities",
    "encode": "encode(images) -> (n, d) codes of images, without noise; stochastic codes with seed=",
    "infer_codes": "infer_codes(images) -> (n, d) codes inferred from images, part of what `decode` takes",
    "decode": "decode(codes) -> (n, C, H, W) images in [-1, 1] of codes (n, d); may take labels=",
    "reconstruct": "reconstruct(images) -> decode(encode(images)); may take labels=",
    "sample_latents": "sample_latents(n, *, seed=0) -> (n, d) codes from the prior, the input of `decode`; may take "
    "labels=, truncation=",
    "traversals": "traversals() -> {title: (rows, columns, d)} codes for grids of decoded images",
    "cluster": "cluster(images) -> (n, clusters) log-probabilities of clusters learned without labels",
    "kl": "kl(images) -> (n, latent_dim) KL divergence of each latent unit from the prior, in nats",
    "log_likelihood": "log_likelihood(images, *, draws=100, seed=0) -> (n,) estimates of log p(x) in nats, biased low",
    "equilibrium": "equilibrium() -> {player: its loss at the equilibrium of the game}",
    "translate": "translate(images, to) -> the images translated to domain `to`, one of `translates_to`: 0 or 1, as "
    "in the data's classes",
    "screen": "screen(images, n, *, growth=-1, generated=640, seed=0) -> rows and similarities of the n candidates "
    "most similar to generated molecules",
}
"""Optional methods of systems. Reports, evaluation and commands test `system.supports(...)`, never the class."""

REQUIRED_KEYWORDS: dict[str, set[str]] = {
    "sample": {"seed"},
    "sample_latents": {"seed"},
    "log_likelihood": {"draws", "seed"},
    "screen": {"growth", "generated", "seed"},
}
"""Capability -> the keyword arguments that it always takes; all others are options, declared in `System.takes`."""


def _all_options(cls: type[System]) -> dict[str, AbstractSet[str]]:
    """Capability -> optional keyword arguments, declared by the class and by those that it inherits methods from.

    Raises TypeError if the class's own declaration differs from the signatures of its methods.
    """
    declared: Mapping[str, AbstractSet[str]] = cls.__dict__.get("takes", {})
    if unknown := declared.keys() - (CAPABILITIES.keys() & cls.__dict__.keys()):
        raise TypeError(f"{cls.__name__}.takes declares {min(unknown)}, which is not a capability that it defines")
    options: dict[str, AbstractSet[str]] = {}
    for name in CAPABILITIES:
        owner = next((base for base in cls.__mro__ if name in base.__dict__), System)
        own = declared if owner is cls else getattr(owner, "takes", {})
        taken = frozenset(own.get(name, ()))
        method = owner.__dict__.get(name)
        if inspect.isfunction(method) and (owner is cls or not issubclass(owner, System)):
            _require_declared(owner, name, method, taken)
        if taken:
            options[name] = taken
    return options


def _require_declared(cls: type, name: str, method: Callable[..., object], declared: AbstractSet[str]) -> None:
    """Raises TypeError unless the keyword arguments of the class's method are the required and the declared ones."""
    parameters = inspect.signature(method).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):  # it passes its options on: nothing to compare with
        return
    keywords = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY or p.default is not p.empty}
    required = REQUIRED_KEYWORDS.get(name, set())
    if missing := required - keywords:
        raise TypeError(f"{cls.__name__}.{name} must take the keyword argument {min(missing)}: {CAPABILITIES[name]}")
    if (options := keywords - required) != declared:
        quoted = ", ".join(f'"{option}"' for option in sorted(options))
        remedy = f'"{name}": {{{quoted}}} belongs in takes' if options else f'remove "{name}" from takes'
        raise TypeError(f"{cls.__name__}.takes does not match the arguments of {cls.__name__}.{name}: {remedy}")
