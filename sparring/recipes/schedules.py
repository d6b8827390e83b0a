"""Optimizers that do something more around each step, and how rates fall. No torch here until one is made."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from sparring.referee import MakeOptimizer, Schedule


def with_gradient_clipping(make: "MakeOptimizer", bound: float) -> "MakeOptimizer":
    """The same optimizer; before each step every element of the gradient is cut to [-bound, bound] (Keras: clipvalue).

    By then the referee has summed the pieces of a batch and averaged over processes; it logs the norm before the cut.
    """

    def made(weights: "list[nn.Parameter]") -> "Optimizer":
        from torch.nn.utils import clip_grad_value_

        optimizer = make(weights)
        optimizer.register_step_pre_hook(lambda *_: clip_grad_value_(weights, bound))
        return optimizer

    return made


def with_weight_clipping(make: "MakeOptimizer", bound: float) -> "MakeOptimizer":
    """The same optimizer; after each step every weight is cut to [-bound, bound]."""

    def made(weights: "list[nn.Parameter]") -> "Optimizer":
        import torch

        @torch.no_grad()
        def cut(*_: object) -> None:
            for weight in weights:
                weight.clamp_(-bound, bound)

        optimizer = make(weights)
        optimizer.register_step_post_hook(cut)
        return optimizer

    return made


def inverse_time_decay(lr: float, decay: float) -> "Schedule":
    """lr / (1 + decay t), where t counts the steps before this one, one a round (Keras: decay)."""

    def settings(round_number: int) -> dict[str, Any]:
        return {"lr": lr / (1 + decay * (round_number - 1))}

    return settings


def linear_warmup(lr: float, over: int) -> "Schedule":
    """From 0 to lr in equal steps, reached in round `over`; then lr."""

    def settings(round_number: int) -> dict[str, Any]:
        return {"lr": lr * min(1.0, round_number / over) if over else lr}

    return settings


def step_decay(lr: float, drops: Sequence[int]) -> "Schedule":
    """lr, and a tenth of it from each of these rounds on."""

    def settings(round_number: int) -> dict[str, Any]:
        return {"lr": lr * 0.1 ** sum(round_number >= drop for drop in drops)}

    return settings
