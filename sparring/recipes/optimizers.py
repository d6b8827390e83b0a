"""Optimizers with clipping or shared state. Imports torch only when an optimizer is made."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from sparring.referee import MakeOptimizer


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


def shared_adam(lr: float) -> "MakeOptimizer":
    """Adam (0, .99) whose state is shared by all players: one running square per weight, not one per player."""
    state: dict[Tensor, Any] = {}

    def make(weights: "list[nn.Parameter]") -> "Optimizer":
        import torch

        def load(optimizer: "Optimizer", *_: object) -> None:
            optimizer.state.update({w: state[w] for w in weights if w in state})

        def store(optimizer: "Optimizer", *_: object) -> None:
            state.update(optimizer.state)

        optimizer = torch.optim.Adam(weights, lr=lr, betas=(0.0, 0.99))
        optimizer.register_step_pre_hook(load)
        optimizer.register_step_post_hook(store)
        optimizer.register_load_state_dict_post_hook(store)
        return optimizer

    return make
