"""Optimizers with clipping, and learning-rate schedules. Imports torch only when an optimizer is made."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from sparring.referee import MakeOptimizer, Schedule


def with_gradient_clipping(make: "MakeOptimizer", bound: float) -> "MakeOptimizer":
    """The same optimizer; before each step gradients are clamped elementwise to [-bound, bound] (Keras: clipvalue).

    The referee has accumulated microbatches and averaged over processes before, and logs the norm before clamping.
    """

    def make_clipped(weights: "list[nn.Parameter]") -> "Optimizer":
        from torch.nn.utils import clip_grad_value_

        optimizer = make(weights)
        optimizer.register_step_pre_hook(lambda *_: clip_grad_value_(weights, bound))
        return optimizer

    return make_clipped


def with_weight_clipping(make: "MakeOptimizer", bound: float) -> "MakeOptimizer":
    """The same optimizer; after each step weights are clamped to [-bound, bound]."""

    def make_clipped(weights: "list[nn.Parameter]") -> "Optimizer":
        import torch

        @torch.no_grad()
        def clamp(*_: object) -> None:
            for weight in weights:
                weight.clamp_(-bound, bound)

        optimizer = make(weights)
        optimizer.register_step_post_hook(clamp)
        return optimizer

    return make_clipped


def inverse_time_decay(lr: float, decay: float) -> "Schedule":
    """lr / (1 + decay t), where t is the number of earlier rounds (Keras: decay)."""

    def settings(round_number: int) -> dict[str, Any]:
        return {"lr": lr / (1 + decay * (round_number - 1))}

    return settings


def linear_warmup(lr: float, warmup_rounds: int) -> "Schedule":
    """Linear increase from 0 to lr, reached in round `warmup_rounds`; then lr."""

    def settings(round_number: int) -> dict[str, Any]:
        return {"lr": lr * min(1.0, round_number / warmup_rounds) if warmup_rounds else lr}

    return settings


def step_decay(lr: float, drops: Sequence[int]) -> "Schedule":
    """lr, divided by 10 from each of the rounds `drops` on."""

    def settings(round_number: int) -> dict[str, Any]:
        return {"lr": lr * 0.1 ** sum(round_number >= drop for drop in drops)}

    return settings
