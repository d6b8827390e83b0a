"""Makes the moves: the only place that knows optimizers, devices, precision, processes, averaging and accumulation.

It knows `System` and no particular system. One call of `play` is one round.
"""

from __future__ import annotations

import copy
import ctypes
import math
import platform
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import accelerate
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.optim import Optimizer

from sparring.data.dataset import Dataset
from sparring.data.feed import Feed
from sparring.distributed import collective, process_group
from sparring.errors import DivergedError, SparringError
from sparring.seeds import derive_seed, isolated, make_generator
from sparring.system import Move, ShardedRng, System, resolve_precision

MakeOptimizer = Callable[[list[nn.Parameter]], Optimizer]
"""Builds an optimizer for a player's weights: `partial(torch.optim.Adam, lr=2e-4, betas=(0.5, 0.999))`."""

Schedule = Callable[[int], Mapping[str, Any]]
"""Round number (from 1) -> settings of the optimizer in that round, e.g. {"lr": 1e-4}. No state."""

MAX_GRAD_NORM_RATIO = 1e4
"""A gradient norm above this multiple of its running median (and of 1) stops the run."""

STEP = 0.01
"""The share of live weights that one update of an EMA takes in, at most: with a decay of .999 in every 8th round."""

RAMPUP = 0.25
"""The half-life of an EMA from round 0 on is at most this share of the rounds so far, until it is that of its decay."""


def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of all gradients together. On a CPU one dot product each: half the time of a vector norm."""
    if gradients[0].device.type != "cpu":
        return torch.nn.utils.get_total_norm(gradients)
    flat = [g.as_strided((g.numel(),), (1,)) for g in gradients]  # gradients are dense: no gaps, no overlaps
    return torch.stack([torch.dot(g, g) for g in flat]).sum().sqrt()


def disable_malloc_trim() -> None:
    """Ask glibc to keep what is freed for the next round instead of giving it back to the system page by page.

    A round frees and takes the same tens of megabytes again and again; without page faults the rounds of small
    networks take a quarter less time (docs/results/bookkeeping.md). Elsewhere than on glibc nothing happens.
    """
    trim_threshold, mmap_threshold, one_gigabyte = -1, -3, 1 << 30
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(trim_threshold, one_gigabyte)
        libc.mallopt(mmap_threshold, one_gigabyte)


def set_tf32(allowed: bool) -> None:
    """Whether a GPU may round the factors of float32 products and convolutions to TF32, which it multiplies faster."""
    precision = "tf32" if allowed else "ieee"
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]


@dataclass
class StepResult:
    """What one move told: the moves of all copies of the round, and the norm of the gradient they led to."""

    moves: list[Move]
    gradient: Tensor

    @property
    def player(self) -> str:
        return self.moves[0].player

    @property
    def numbers(self) -> dict[str, Tensor]:
        """Scalars by name: "loss", "gradient", and the move's own numbers, means over the copies."""
        means = {n: torch.stack([m.numbers[n] for m in self.moves]).mean() for n in self.moves[0].numbers}
        return {"loss": torch.stack([m.loss for m in self.moves]).mean(), "gradient": self.gradient, **means}


class EMA:
    """Exponential moving averages (EMA) of some of a system's networks: what the world is shown.

    After every round, average <- d average + (1 - d) live, batch norm's statistics included; counters are copied. The
    weights of a round count half after log(1/2) / log d further rounds (its half-life), 1/e after 1 / (1 - d).

    decay  d, per round; 0: no average, the live networks are shown
    start  the average starts from the weights of this round, with its full decay (as in BigGAN's code); before it the
           live weights are shown. One that starts at round 0 starts from initial weights, and is warmed up: its
           half-life is at most RAMPUP times the rounds so far. (The ramp-up of StyleGAN2-ADA, whose factor .05 is
           for trainings of a million rounds.) So .999 is reached after 2,800 rounds, .9999 after 28,000.

    An update is a pass over memory that small networks feel (docs/results/bookkeeping.md). So with d above .99 the
    average takes in the weights of every k-th round only, k <= 8, with d^k; and, in a copy, those of the round that it
    is shown for. What is shown does not depend on when it was shown before.
    """

    def __init__(self, system: System, decay: float, start: int) -> None:
        if not 0 <= decay < 1:
            raise SparringError(f"average is {decay}: a decay per round is at least 0 (no average) and below 1")
        self.decay, self.start = decay, start
        self.every = min(8, max(1, round(STEP / (1 - decay))))
        self.system = system
        names = system.ema_networks if decay else ()
        self.networks = {name: copy.deepcopy(getattr(system, name)) for name in names}
        self._shown_networks = {name: copy.deepcopy(network) for name, network in self.networks.items()}
        self._shown = copy.copy(system)
        self._shown._modules = {**system._modules, **self._shown_networks}
        self.shown_at = -1

    def update(self, round_number: int) -> None:
        """After this round."""
        since = round_number - self.start
        if since < 0 or since % self.every:
            return
        for name, network in self.networks.items():
            _blend(network, getattr(self.system, name), 1 - self._kept(since - self.every, since))

    def shown(self, round_number: int) -> System:
        """The system with the averages after this round in place of its networks; the others are shared.

        It is one and the same system every time, brought up to date.
        """
        if self.networks and round_number != self.shown_at:
            since = round_number - self.start
            share = 1 - self._kept(since - since % self.every, since)
            for name, network in self._shown_networks.items():
                network.load_state_dict(self.networks[name].state_dict())
                _blend(network, getattr(self.system, name), share)
            self.shown_at = round_number
        return self._shown

    def _kept(self, after: int, until: int) -> float:
        """The product of the decays of these rounds, counted from the start: the weight that what was before keeps."""
        if until <= 0:
            return 0.0
        ema_half_life = math.log(0.5) / math.log(self.decay)
        ramp = math.inf if self.start else RAMPUP
        return 0.5 ** sum(1 / min(ema_half_life, ramp * n) for n in range(after + 1, until + 1))


def _blend(average: nn.Module, live: nn.Module, share: float) -> None:
    """average <- (1 - share) average + share live, in place; counters are copied."""
    pairs = zip(average.state_dict().values(), live.state_dict().values(), strict=True)
    numbers: list[tuple[Tensor, Tensor]] = []
    for old, new in pairs:
        if old.is_floating_point():
            numbers.append((old, new))
        else:
            old.copy_(new)
    if numbers:
        torch._foreach_lerp_([old for old, _ in numbers], [new for _, new in numbers], share)


class Referee:
    """Plays rounds of a system.

    streams      stream name -> data, for the feed
    batch        images per optimizer step, over all processes and accumulated pieces
    optimizers   player -> how to make its optimizer; exactly the system's players
    schedules    player -> settings per round; a learning rate below 0 counts as 0
    grad_accum   pieces that a batch is cut into; n copies of the round advance in step and share each optimizer step.
                 The result is that of the whole batch up to rounding (1e-5 in float32), as it is for several processes,
                 where nothing in the system is `batchwise`
    ema_decay    decay per round of the weights' EMA (0: the live weights), from round `ema_start` on: `EMA`
    precision    "auto", "fp32" or "bf16" autocast; losses are in float32 always
    """

    def __init__(
        self,
        system: System,
        streams: Mapping[str, Dataset],
        *,
        batch: int,
        optimizers: Mapping[str, MakeOptimizer],
        schedules: Mapping[str, Schedule] | None = None,
        grad_accum: int = 1,
        ema_decay: float = 0.999,
        ema_start: int = 0,
        precision: str = "auto",
        seed: int = 0,
    ) -> None:
        self.processes = process_group()
        self.device = self.processes.device
        self.seed, self.grad_accum = seed, grad_accum
        self.precision = resolve_precision(precision, self.device)
        self.round = 0
        if self.device.type == "cpu":
            disable_malloc_trim()
        else:
            set_tf32(self.precision != torch.float32)

        self.system = system.to(self.device).to(memory_format=torch.channels_last).train()
        self.system.precision = self.precision
        self.weights = self._weights_of_players()
        self.optimizers = self._make(optimizers)
        self.schedules = dict(schedules or {})
        self._names = {id(p): name for name, p in self.system.named_parameters()}
        self._recent = {player: deque[float](maxlen=100) for player in system.players}

        rank, shares = self.processes.process_index, self.processes.num_processes * grad_accum
        mine = [rank * grad_accum + piece for piece in range(grad_accum)]
        dtype = next(system.parameters()).dtype
        self.feeds = [
            Feed(streams, batch, seed=seed, share=s, shares=shares, device=self.device, dtype=dtype) for s in mine
        ]
        self._ema = EMA(self.system, ema_decay, ema_start)

    @property
    def ema_system(self) -> System:
        """The system as the world is shown it, with the averaged weights after this round.

        Always the same object, which asking for it here brings up to date: ask again after `play`.
        """
        return self._ema.shown(self.round)

    def play(self) -> list[StepResult]:
        """One round: every move of the system, each followed by its player's optimizer step.

        Raises Diverged before an update that is not finite or explodes.
        """
        self.system.round_index = self.round
        self.round += 1
        with isolated(
            derive_seed(self.seed, "round", self.round, self.processes.process_index), self.device, self.system
        ):
            copies = [self.system.round(feed) for feed in self.feeds]
            draws = [ShardedRng(make_generator(self.seed, "noise", self.round), f.share, f.shares) for f in self.feeds]
            told = []
            try:
                while moves := self._next_moves(copies, draws):
                    told.append(self._step(moves))
            finally:
                self.system.draws = None
                for one in copies:
                    one.close()
        if any(feed.positions != self.feeds[0].positions for feed in self.feeds):
            raise SparringError(f"copies of {type(self.system).__name__}.round took different numbers of batches")
        self._ema.update(self.round)
        return told

    def _next_moves(self, copies: Sequence[Generator[Move, None, None]], draws: list[ShardedRng]) -> list[Move]:
        """The next move of every copy, its gradient already in the player's weights; none when the round is over."""
        moves = []
        for one, its_draws in zip(copies, draws, strict=True):
            self.system.draws = its_draws
            with self._autocast():
                move = next(one, None)
            if move is None:
                continue
            moves.append(move)
            self._check(move, moves)
            (move.loss / self.grad_accum).backward(inputs=self.weights[move.player])
            move.loss = move.loss.detach()
        if moves and len(moves) < len(copies):
            raise SparringError(f"copies of {type(self.system).__name__}.round have different numbers of moves")
        return moves

    def _check(self, move: Move, moves: list[Move]) -> None:
        name = type(self.system).__name__
        if not torch.is_grad_enabled():
            raise SparringError(f"{name}.round yields inside torch.no_grad(): leave the block before the yield")
        if move.player not in self.system.players:
            raise SparringError(f"{name}.round moves '{move.player}'; its players are {list(self.system.players)}")
        if move.player != moves[0].player:
            raise SparringError(f"copies of {name}.round disagree who moves: {moves[0].player} or {move.player}")

    def _step(self, moves: list[Move]) -> StepResult:
        """Average the gradients over processes, guard, and take the player's optimizer step."""
        player, weights = moves[0].player, self.weights[moves[0].player]
        gradients = [w.grad for w in weights if w.grad is not None]
        if not gradients:
            raise SparringError(f"the {player}'s loss does not depend on its weights: is something detached?")
        if self.processes.num_processes > 1:
            with collective():
                flat = accelerate.utils.reduce(torch.cat([g.flatten() for g in gradients]), "mean")
            for g, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                g.copy_(mean.view_as(g))

        norm = total_norm(gradients)
        self._guard(player, torch.stack([norm, *(m.loss for m in moves)]))

        optimizer = self.optimizers[player]
        if player in self.schedules:
            for group in optimizer.param_groups:
                group.update(_settings(self.schedules[player], self.round))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return StepResult(moves, norm)

    def _guard(self, player: str, told: Tensor) -> None:
        """`told`: the gradient's norm and the loss of every copy, the only numbers of a move that the CPU waits for."""
        norm, *losses = told.tolist()
        loss = sum(losses) / len(losses)
        recent = self._recent[player]
        usual = sorted(recent)[len(recent) // 2] if recent else math.inf
        for what, value in (("loss", loss), ("gradient norm", norm)):
            if not math.isfinite(value):
                raise DivergedError(f"round {self.round}: the {player}'s {what} is {value}; stopped before that update")
        if norm > MAX_GRAD_NORM_RATIO * max(usual, 1.0):
            raise DivergedError(
                f"round {self.round}: the {player}'s gradient norm is {norm:.3g}, its recent median was {usual:.3g}; "
                "stopped before that update"
            )
        recent.append(norm)

    def reduce_logs(self, told: list[StepResult]) -> list[dict[str, float | str]]:
        """What was told as plain numbers, averaged over the processes (all of them must call this)."""
        named = [t.numbers for t in told]
        flat = torch.stack([v.float() for numbers in named for v in numbers.values()])
        if self.processes.num_processes > 1:
            with collective():
                flat = accelerate.utils.reduce(flat, "mean")
        values = iter(flat.tolist())
        return [
            {"player": t.player, **{name: next(values) for name in numbers}}
            for t, numbers in zip(told, named, strict=True)
        ]

    def rates(self) -> dict[str, float]:
        """Player -> learning rate of its last move."""
        return {player: float(optimizer.param_groups[0]["lr"]) for player, optimizer in self.optimizers.items()}

    # What is known before the first round.

    def batchwise(self) -> list[str]:
        """What in this system makes the result another one when a batch is cut into pieces, or shared by processes.

        Batch norm and minibatch features see their own part of a batch, dropout and noise draw other numbers for it.
        """
        kinds = {
            "batch norm"
            if isinstance(layer, _BatchNorm)
            else "dropout"
            if isinstance(layer, _DropoutNd) and layer.p
            else getattr(layer, "batchwise", "")
            for layer in self.system.modules()
        }
        return sorted(kinds - {""})

    def schedule_ends(self, last: int) -> dict[str, int]:
        """Player -> the last round with a learning rate above 0, where that comes before round `last`."""
        ends = {player: last_round_of_learning(schedule, last) for player, schedule in self.schedules.items()}
        return {player: end for player, end in ends.items() if end is not None}

    # What a checkpoint holds.

    def state_tensors(self) -> dict[str, dict[str, Tensor]]:
        """Everything that play changes, by file and name: "system", "ema", and "optimizer-PLAYER".

        An optimizer's slot is named after its weight ("G.0.weight.exp_avg"), never by position.
        """
        files = {"system": self.system.state_dict()}
        if self._ema.networks:
            files["ema"] = {
                f"{net}.{k}": v for net, average in self._ema.networks.items() for k, v in average.state_dict().items()
            }
        for player, optimizer in self.optimizers.items():
            files[f"optimizer-{player}"] = {
                f"{self._names[id(w)]}.{slot}": value
                for w, slots in optimizer.state.items()
                for slot, value in slots.items()
                if value is not None
            }
        return files

    def state_numbers(self) -> dict[str, object]:
        """The rest of the state, as JSON values."""
        return {
            "round": self.round,
            "positions": self.feeds[0].positions,
            "recent": {player: list(norms) for player, norms in self._recent.items()},
        }

    def load_state(self, files: Mapping[str, Mapping[str, Tensor]], numbers: Mapping) -> None:
        """Continue from what `tensors` and `numbers` gave. Raises SparringError when names or shapes differ."""
        expected = {"system", *(f"optimizer-{player}" for player in self.optimizers)}
        expected |= {"ema"} if self._ema.networks else set()
        names = (set(files), set(numbers["recent"]), set(numbers["positions"]))
        if names != (expected, set(self._recent), set(self.feeds[0].positions)):
            raise SparringError(f"the checkpoint is of another game than {type(self.system).__name__} plays here")
        _load(self.system, files["system"], "system")
        for net, average in self._ema.networks.items():
            mine = {k.removeprefix(f"{net}."): v for k, v in files["ema"].items() if k.startswith(f"{net}.")}
            _load(average, mine, f"average of {net}")
        self._ema.shown_at = -1
        for player, optimizer in self.optimizers.items():
            self._restore_optimizer(player, optimizer, files[f"optimizer-{player}"])
        for player, norms in numbers["recent"].items():
            self._recent[player].extend(norms)
        for feed in self.feeds:
            feed.positions.update(numbers["positions"])
        self.round = numbers["round"]

    def _restore_optimizer(self, player: str, optimizer: Optimizer, slots: Mapping[str, Tensor]) -> None:
        left = dict(slots)
        state: dict[int, dict[str, Tensor]] = {}
        for index, weight in enumerate(self.weights[player]):
            prefix = self._names[id(weight)] + "."
            mine = {k.removeprefix(prefix): left.pop(k) for k in list(slots) if k.rpartition(".")[0] + "." == prefix}
            for slot, value in mine.items():
                if value.ndim and value.shape != weight.shape:
                    raise SparringError(
                        f"{player}: {prefix}{slot} is {tuple(value.shape)}, its weight {tuple(weight.shape)}"
                    )
            if mine:  # fused steps read memory as it lies: a slot must have its weight's strides
                state[index] = {k: torch.empty_like(weight).copy_(v) if v.ndim else v for k, v in mine.items()}
        if left:
            raise SparringError(f"{player}: optimizer state for unknown weights {sorted(left)[:3]}")
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})

    # How it is set up.

    def _weights_of_players(self) -> dict[str, list[nn.Parameter]]:
        weights = {}
        for player, networks in self.system.players.items():
            for network in networks:
                if not isinstance(getattr(self.system, network, None), nn.Module):
                    raise SparringError(f"{type(self.system).__name__} has no network '{network}' (player {player})")
            every = (p for network in networks for p in getattr(self.system, network).parameters() if p.requires_grad)
            weights[player] = list(dict.fromkeys(every))
        return weights

    def _make(self, optimizers: Mapping[str, MakeOptimizer]) -> dict[str, Optimizer]:
        if set(optimizers) != set(self.system.players):
            raise SparringError(
                f"optimizers are for {sorted(optimizers)}; {type(self.system).__name__} plays {sorted(self.weights)}"
            )
        made = {player: optimizers[player](weights) for player, weights in self.weights.items()}
        for optimizer in made.values():
            if "fused" in optimizer.defaults and optimizer.defaults["fused"] is None:
                for group in optimizer.param_groups:
                    group["fused"] = True
        return made

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)


def _settings(schedule: Schedule, round_number: int) -> dict[str, Any]:
    """The optimizer's settings in this round; the learning rate is at least 0."""
    settings = dict(schedule(round_number))
    if "lr" in settings:
        settings["lr"] = max(0.0, settings["lr"])
    return settings


def last_round_of_learning(schedule: Schedule, last: int) -> int | None:
    """The last round with a learning rate above 0, where the rate falls to 0 before round `last`; else None."""
    learning, idle = 0, last
    if _settings(schedule, idle).get("lr", 1.0):
        return None
    while idle - learning > 1:
        middle = (learning + idle) // 2
        if _settings(schedule, middle)["lr"]:
            learning = middle
        else:
            idle = middle
    return learning


def _load(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    mine = module.state_dict()
    missing, extra = sorted(set(mine) - set(state)), sorted(set(state) - set(mine))
    if missing or extra:
        raise SparringError(f"{what}: the weights' names differ (missing {missing[:3]}, unexpected {extra[:3]})")
    wrong = [k for k in mine if mine[k].shape != state[k].shape or mine[k].dtype != state[k].dtype]
    if wrong:
        raise SparringError(f"{what}: shape or type of {wrong[:3]} differs from the network's")
    module.load_state_dict(state)
