"""The engine that takes the optimizer steps: optimizers, devices, precision, processes, EMA, gradient accumulation.

It depends on `System` but on no particular system. One call of `play` is one round.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import accelerate
import torch
from accelerate.utils import convert_to_fp32
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.optim import Optimizer

from sparring.cpu_kernels import use_matmul_convolutions
from sparring.data.dataset import Dataset
from sparring.data.feed import Feed
from sparring.device import resolve_precision, set_tf32
from sparring.distributed import collective, process_group
from sparring.errors import DivergedError, SparringError
from sparring.machine import disable_malloc_trim
from sparring.networks.scheduled import Scheduled
from sparring.seeds import ShardedRng, derive_seed, isolated, make_generator
from sparring.system import Move, System

MakeOptimizer = Callable[[list[nn.Parameter]], Optimizer]
"""Builds an optimizer for a player's weights: `partial(torch.optim.Adam, lr=2e-4, betas=(0.5, 0.999))`."""

Schedule = Callable[[int], Mapping[str, Any]]
"""Round number (from 1) -> optimizer settings in that round, e.g. {"lr": 1e-4}. Stateless."""

MAX_GRAD_NORM_RATIO = 1e4
"""A gradient norm above this multiple of its running median (and of 1) stops training."""

MAX_EMA_STEP = 0.01
"""An EMA is updated every k-th round, k <= 8, such that the weight of the live weights, k (1 - decay), stays below."""

RAMPUP = 0.25
"""While an EMA that starts at round 0 warms up, its half-life is this fraction of the number of rounds so far."""


def total_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of all gradients together. On a CPU by dot products, in half the time of a vector norm."""
    if gradients[0].device.type != "cpu":
        return torch.nn.utils.get_total_norm(gradients)
    flat = [g.as_strided((g.numel(),), (1,)) for g in gradients]  # gradients are dense: no gaps or overlaps
    return torch.stack([torch.dot(g, g) for g in flat]).sum().sqrt()


def return_float32(system: System) -> None:
    """Make the networks of all players return float32 under autocast.

    So everything that a round computes from their outputs, losses, penalties and logged numbers, is in float32: bf16
    has 8 bits of mantissa, too few for a mean of logarithms.
    """
    for name in dict.fromkeys(name for names in system.players.values() for name in names):
        getattr(system, name).register_forward_hook(lambda network, inputs, outputs: convert_to_fp32(outputs))


@dataclass
class StepResult:
    """The result of one optimizer step: the moves of all microbatches, and the norm of their averaged gradient."""

    moves: list[Move]
    gradient: Tensor

    @property
    def player(self) -> str:
        """The player whose weights were updated."""
        return self.moves[0].player

    @property
    def numbers(self) -> dict[str, Tensor]:
        """Scalars by name: "loss", "gradient", and the move's own numbers, averaged over microbatches."""
        means = {n: torch.stack([m.numbers[n] for m in self.moves]).mean() for n in self.moves[0].numbers}
        return {"loss": torch.stack([m.loss for m in self.moves]).mean(), "gradient": self.gradient, **means}


class EMA:
    """Exponential moving averages (EMA) of some of a system's networks: the weights used for sampling.

    After every round, average <- d average + (1 - d) live, including batch norm statistics; counters are copied. The
    half-life is log(1/2) / log d rounds; a round's weight falls to 1/e after about 1 / (1 - d) rounds.

    decay  d, per round; 0: no average, the live networks are used
    start  the average starts from the weights of this round, with its full decay (as in BigGAN's code); before that,
           the live weights are used. An average that starts at round 0 starts from initial weights and is warmed up:
           its half-life is at most RAMPUP times the rounds so far (as in StyleGAN2-ADA, whose factor .05 is for
           trainings of a million rounds). So .999 is reached after 2,800 rounds, .9999 after 28,000.

    An update is a pass over memory, which is noticeable for small networks (docs/results/bookkeeping.md). With d above
    .99 the average is therefore updated only every k-th round, k <= 8, with decay d^k; `averaged` adds the weights of
    the current round in a copy. The result does not depend on when it was requested before.
    """

    def __init__(self, system: System, decay: float, start: int) -> None:
        if not 0 <= decay < 1:
            raise SparringError(f"ema_decay is {decay}: it must be at least 0 (no average) and below 1")
        self.decay, self.start = decay, start
        self.every = min(8, max(1, round(MAX_EMA_STEP / (1 - decay))))
        self.system = system
        names = system.ema_networks if decay else ()
        self.networks = {name: copy.deepcopy(getattr(system, name)) for name in names}
        self._averaged_networks = {name: copy.deepcopy(network) for name, network in self.networks.items()}
        self._averaged = copy.copy(system)
        self._averaged._modules = {**system._modules, **self._averaged_networks}
        self.averaged_at = -1

    def update(self, round_number: int) -> None:
        """Update the averages after this round."""
        since = round_number - self.start
        if since < 0 or since % self.every:
            return
        for name, network in self.networks.items():
            _blend(network, getattr(self.system, name), 1 - self._decay_between(since - self.every, since))

    def averaged(self, round_number: int) -> System:
        """The system with the averages after this round in place of the live networks; other networks are shared.

        Always the same object, brought up to date.
        """
        if self.networks and round_number != self.averaged_at:
            since = round_number - self.start
            weight = 1 - self._decay_between(since - since % self.every, since)
            for name, network in self._averaged_networks.items():
                network.load_state_dict(self.networks[name].state_dict())
                _blend(network, getattr(self.system, name), weight)
            self.averaged_at = round_number
        return self._averaged

    def _decay_between(self, after: int, until: int) -> float:
        """The product of the decays of the rounds after + 1 ... until, counted from the start."""
        if until <= 0:
            return 0.0
        half_life = math.log(0.5) / math.log(self.decay)
        ramp = math.inf if self.start else RAMPUP
        return 0.5 ** sum(1 / min(half_life, ramp * n) for n in range(after + 1, until + 1))


def _blend(average: nn.Module, live: nn.Module, weight: float) -> None:
    """Update in place: average <- (1 - weight) average + weight live. Counters and rounds are copied."""
    pairs = zip(average.state_dict().values(), live.state_dict().values(), strict=True)
    floats: list[tuple[Tensor, Tensor]] = []
    for old, new in pairs:
        if old.is_floating_point():
            floats.append((old, new))
        else:
            old.copy_(new)
    if floats:
        torch._foreach_lerp_([old for old, _ in floats], [new for _, new in floats], weight)
    for layer, live_layer in zip(average.modules(), live.modules(), strict=True):
        if isinstance(layer, Scheduled) and isinstance(live_layer, Scheduled):
            layer.set_round(live_layer.round_index)


class Referee:
    """Plays rounds of a system.

    streams      stream name -> data, for the feed
    batch        images per optimizer step, over all processes and microbatches
    optimizers   player -> function that builds its optimizer; exactly the system's players
    schedules    player -> settings per round; learning rates below 0 are set to 0
    grad_accum   microbatches per batch and process; n copies of the round advance in step and share each optimizer
                 step. Unless something in the system is `batchwise`, the result is that of the whole batch up to
                 rounding (1e-5 in float32); the same holds for several processes
    ema_decay    decay per round of the EMA weights (0: live weights), from round `ema_start` on: see `EMA`
    precision    "auto", "fp32" or "bf16" autocast; the networks of all players return float32, so losses are in float32
    device       where to compute; None: that of the process group, a GPU if there is one
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
        device: torch.device | None = None,
        seed: int = 0,
    ) -> None:
        self.processes = process_group(device)
        self.device = device or self.processes.device
        self.seed, self.grad_accum = seed, grad_accum
        self.precision = resolve_precision(precision, self.device)
        self.round = 0
        if self.device.type == "cpu":
            disable_malloc_trim()
            use_matmul_convolutions(system)
        else:
            set_tf32(self.precision != torch.float32)

        if self.precision != torch.float32:
            return_float32(system)

        self.system = system.to(self.device).to(memory_format=torch.channels_last).train()
        self.system.precision = self.precision
        self.weights = self._weights_of_players()
        self.optimizers = self._make(optimizers)
        self.schedules = dict(schedules or {})
        self._names = {id(p): name for name, p in self.system.named_parameters()}
        self._recent = {player: deque[float](maxlen=100) for player in system.players}

        rank, shares = self.processes.process_index, self.processes.num_processes * grad_accum
        own_shares = [rank * grad_accum + microbatch for microbatch in range(grad_accum)]
        dtype = next(system.parameters()).dtype
        self.feeds = [
            Feed(streams, batch, seed=seed, share=s, shares=shares, device=self.device, dtype=dtype) for s in own_shares
        ]
        self._ema = EMA(self.system, ema_decay, ema_start)

    @property
    def ema_system(self) -> System:
        """The system used for sampling, with the EMA weights after this round.

        Always the same object; accessing this property updates it, so access it again after `play`.
        """
        return self._ema.averaged(self.round)

    def play(self) -> list[StepResult]:
        """Play one round: every move of the system, each followed by its player's optimizer step.

        Raises DivergedError before an update with a loss or gradient that is not finite or explodes.
        """
        self.system.round_index = self.round
        self.round += 1
        with isolated(
            derive_seed(self.seed, "round", self.round, self.processes.process_index), self.device, self.system
        ):
            microbatches = [self.system.round(feed) for feed in self.feeds]
            rngs = [ShardedRng(make_generator(self.seed, "noise", self.round), f.share, f.shares) for f in self.feeds]
            results = []
            try:
                while moves := self._backward_next_moves(microbatches, rngs):
                    results.append(self._step(moves))
            finally:
                self.system.draws = None
                for microbatch in microbatches:
                    microbatch.close()
        if any(feed.positions != self.feeds[0].positions for feed in self.feeds):
            raise SparringError(f"microbatches of {type(self.system).__name__}.round took different numbers of batches")
        self._ema.update(self.round)
        return results

    def _backward_next_moves(
        self, microbatches: Sequence[Generator[Move, None, None]], rngs: list[ShardedRng]
    ) -> list[Move]:
        """The next move of every microbatch, with its gradient added to the weights; empty at the end of the round."""
        moves = []
        for microbatch, rng in zip(microbatches, rngs, strict=True):
            self.system.draws = rng
            with self._autocast():
                move = next(microbatch, None)
            if move is None:
                continue
            moves.append(move)
            self._check(move, moves)
            (move.loss / self.grad_accum).backward(inputs=self.weights[move.player])
            move.loss = move.loss.detach()
        if moves and len(moves) < len(microbatches):
            raise SparringError(f"microbatches of {type(self.system).__name__}.round have different numbers of moves")
        return moves

    def _check(self, move: Move, moves: list[Move]) -> None:
        name = type(self.system).__name__
        if not torch.is_grad_enabled():
            raise SparringError(f"{name}.round yields inside torch.no_grad(): leave the block before the yield")
        if move.player not in self.system.players:
            raise SparringError(
                f"{name}.round yields a move of '{move.player}'; its players are {list(self.system.players)}"
            )
        if move.player != moves[0].player:
            raise SparringError(
                f"microbatches of {name}.round yield moves of different players: {moves[0].player} and {move.player}"
            )
        if move.loss.dtype in (torch.bfloat16, torch.float16):
            raise SparringError(
                f"{name}.round yields a loss of '{move.player}' in {str(move.loss.dtype).removeprefix('torch.')}: "
                "compute it from outputs of the players' networks, which are float32, or call .float()"
            )

    def _step(self, moves: list[Move]) -> StepResult:
        """Average the gradients over processes, check them, and take the player's optimizer step."""
        player, weights = moves[0].player, self.weights[moves[0].player]
        gradients = [w.grad for w in weights if w.grad is not None]
        if not gradients:
            raise SparringError(f"the {player}'s loss does not depend on its weights: is a tensor detached?")
        if self.processes.num_processes > 1:
            with collective():
                flat = accelerate.utils.reduce(torch.cat([g.flatten() for g in gradients]), "mean")
            for g, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                g.copy_(mean.view_as(g))

        norm = total_norm(gradients)
        self._check_finite(player, torch.stack([norm, *(m.loss for m in moves)]))

        optimizer = self.optimizers[player]
        if player in self.schedules:
            for group in optimizer.param_groups:
                group.update(_settings(self.schedules[player], self.round))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return StepResult(moves, norm)

    def _check_finite(self, player: str, norm_and_losses: Tensor) -> None:
        """Raises DivergedError unless gradient norm and losses are finite and the norm is not exploding.

        These are the only numbers of a move for which the CPU waits for the device.
        """
        norm, *losses = norm_and_losses.tolist()
        loss = sum(losses) / len(losses)
        recent = self._recent[player]
        recent_median = sorted(recent)[len(recent) // 2] if recent else math.inf
        for what, value in (("loss", loss), ("gradient norm", norm)):
            if not math.isfinite(value):
                raise DivergedError(f"round {self.round}: the {player}'s {what} is {value}; stopped before that update")
        if norm > MAX_GRAD_NORM_RATIO * max(recent_median, 1.0):
            raise DivergedError(
                f"round {self.round}: the {player}'s gradient norm is {norm:.3g}, its recent median was "
                f"{recent_median:.3g}; stopped before that update"
            )
        recent.append(norm)

    def reduce_logs(self, results: list[StepResult]) -> list[dict[str, float | str]]:
        """The numbers of the steps as floats, averaged over processes (all of them must call this)."""
        scalars = [result.numbers for result in results]
        flat = torch.stack([v.float() for numbers in scalars for v in numbers.values()])
        if self.processes.num_processes > 1:
            with collective():
                flat = accelerate.utils.reduce(flat, "mean")
        values = iter(flat.tolist())
        return [
            {"player": result.player, **{name: next(values) for name in numbers}}
            for result, numbers in zip(results, scalars, strict=True)
        ]

    def rates(self) -> dict[str, float]:
        """Player -> learning rate of its last step."""
        return {player: float(optimizer.param_groups[0]["lr"]) for player, optimizer in self.optimizers.items()}

    # Properties of the training.

    def batchwise(self) -> list[str]:
        """Kinds of layers whose results depend on how a batch is split into microbatches and over processes.

        Batch norm and minibatch features depend on the part of the batch they see; dropout and noise draw different
        numbers for it.
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
        """Player -> the last round with a learning rate above 0, for players with such a round before `last`."""
        ends = {player: last_round_of_learning(schedule, last) for player, schedule in self.schedules.items()}
        return {player: end for player, end in ends.items() if end is not None}

    # State, for checkpoints.

    def state_tensors(self) -> dict[str, dict[str, Tensor]]:
        """All tensors that `play` changes, by file and name: "system", "ema", and "optimizer-PLAYER".

        Optimizer state is named after its weight ("G.0.weight.exp_avg"), not by position.
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
        """The remaining state, as JSON values."""
        return {
            "round": self.round,
            "positions": self.feeds[0].positions,
            "recent": {player: list(norms) for player, norms in self._recent.items()},
        }

    def load_state(self, files: Mapping[str, Mapping[str, Tensor]], numbers: Mapping[str, Any]) -> None:
        """Restore `state_tensors` and `state_numbers`. Raises SparringError if names or shapes differ."""
        expected = {"system", *(f"optimizer-{player}" for player in self.optimizers)}
        expected |= {"ema"} if self._ema.networks else set()
        names = (set(files), set(numbers["recent"]), set(numbers["positions"]))
        if names != (expected, set(self._recent), set(self.feeds[0].positions)):
            raise SparringError(f"the checkpoint does not fit this {type(self.system).__name__}")
        _load(self.system, files["system"], "system")
        for net, average in self._ema.networks.items():
            state = {k.removeprefix(f"{net}."): v for k, v in files["ema"].items() if k.startswith(f"{net}.")}
            _load(average, state, f"average of {net}")
        self._ema.averaged_at = -1
        for player, optimizer in self.optimizers.items():
            self._restore_optimizer(player, optimizer, files[f"optimizer-{player}"])
        for player, norms in numbers["recent"].items():
            self._recent[player].extend(norms)
        for feed in self.feeds:
            feed.positions.update(numbers["positions"])
        self.round = numbers["round"]

    def _restore_optimizer(self, player: str, optimizer: Optimizer, slots: Mapping[str, Tensor]) -> None:
        remaining = dict(slots)
        state: dict[int, dict[str, Tensor]] = {}
        for index, weight in enumerate(self.weights[player]):
            prefix = self._names[id(weight)] + "."
            names = [name for name in slots if name.rpartition(".")[0] + "." == prefix]
            own = {name.removeprefix(prefix): remaining.pop(name) for name in names}
            for slot, value in own.items():
                if value.ndim and value.shape != weight.shape:
                    raise SparringError(
                        f"{player}: {prefix}{slot} is {tuple(value.shape)}, its weight {tuple(weight.shape)}"
                    )
            if own:  # fused steps read memory in storage order: a slot must have the strides of its weight
                state[index] = {k: torch.empty_like(weight).copy_(v) if v.ndim else v for k, v in own.items()}
        if remaining:
            raise SparringError(f"{player}: optimizer state for unknown weights {sorted(remaining)[:3]}")
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})

    # Setup.

    def _weights_of_players(self) -> dict[str, list[nn.Parameter]]:
        weights = {}
        for player, networks in self.system.players.items():
            for network in networks:
                if not isinstance(getattr(self.system, network, None), nn.Module):
                    raise SparringError(f"{type(self.system).__name__} has no network '{network}' (player {player})")
            trained = (p for network in networks for p in getattr(self.system, network).parameters() if p.requires_grad)
            weights[player] = list(dict.fromkeys(trained))
        return weights

    def _make(self, optimizers: Mapping[str, MakeOptimizer]) -> dict[str, Optimizer]:
        if set(optimizers) != set(self.system.players):
            raise SparringError(
                f"optimizers are for {sorted(optimizers)}; {type(self.system).__name__} has the players "
                f"{sorted(self.weights)}"
            )
        built = {player: optimizers[player](weights) for player, weights in self.weights.items()}
        for optimizer in built.values():
            if "fused" in optimizer.defaults and optimizer.defaults["fused"] is None:
                for group in optimizer.param_groups:
                    group["fused"] = True
        return built

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)


def _settings(schedule: Schedule, round_number: int) -> dict[str, Any]:
    """The optimizer's settings in this round; the learning rate is at least 0."""
    settings = dict(schedule(round_number))
    if "lr" in settings:
        settings["lr"] = max(0.0, settings["lr"])
    return settings


def last_round_of_learning(schedule: Schedule, last: int) -> int | None:
    """The last round with a learning rate above 0, if the rate reaches 0 before round `last`; else None."""
    positive, zero = 0, last  # rounds with a learning rate above 0, and of 0
    if _settings(schedule, zero).get("lr", 1.0):
        return None
    while zero - positive > 1:
        middle = (positive + zero) // 2
        if _settings(schedule, middle)["lr"]:
            positive = middle
        else:
            zero = middle
    return positive


def _load(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """`load_state_dict`, with errors in one line; `what` names the module in them."""
    current = module.state_dict()
    missing, extra = sorted(set(current) - set(state)), sorted(set(state) - set(current))
    if missing or extra:
        raise SparringError(f"{what}: names of weights differ (missing {missing[:3]}, unexpected {extra[:3]})")
    wrong = [k for k in current if current[k].shape != state[k].shape or current[k].dtype != state[k].dtype]
    if wrong:
        raise SparringError(f"{what}: shape or dtype of {wrong[:3]} differs from the network's")
    module.load_state_dict(state)
