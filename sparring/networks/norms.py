"""Normalization layers by name, and virtual batch normalization with the reference batch it needs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from sparring.errors import SparringError


class VirtualBatchNorm(nn.Module):
    """Salimans et al. 2016, section 3.5: (R + B, C, ...) -> the same shape; the first R rows are the reference batch.

    The reference batch is normalized with its own statistics. Every other example is normalized with the joint
    statistics of the reference and itself, itself with weight 1 / (R + 1), so that examples are independent.
    `WithReferenceBatch` sets R.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.reference_size, self.eps = 0, eps
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(R + B, C, ...) -> the same shape. Raises SparringError if there is no reference batch."""
        if not self.reference_size:
            raise SparringError("virtual batch norm has no reference batch: wrap the network in WithReferenceBatch")
        flat = x.flatten(2) if x.ndim > 2 else x[:, :, None]
        flat = flat.to(torch.promote_types(x.dtype, torch.float32))
        var, mean = torch.var_mean(flat, 2, correction=0, keepdim=True)  # (R + B, C, 1): per example

        reference_mean = mean[: self.reference_size].mean(0)
        reference_var = (var + (mean - reference_mean).square())[: self.reference_size].mean(0)

        weight = torch.full((len(x), 1, 1), 1 / (self.reference_size + 1), device=x.device, dtype=flat.dtype)
        weight[: self.reference_size] = 0
        joint_mean = reference_mean.lerp(mean, weight)
        joint_var = (1 - weight) * (reference_var + (reference_mean - joint_mean).square())
        joint_var = joint_var + weight * (var + (mean - joint_mean).square())

        y = (flat - joint_mean) * (joint_var + self.eps).rsqrt() * self.weight[:, None] + self.bias[:, None]
        return y.to(x.dtype).view(x.shape)


class WithReferenceBatch(nn.Module):
    """Prepends a fixed reference batch to every batch, and drops its outputs.

    network    contains VirtualBatchNorm layers, and no other layers that mix the rows of a batch
    reference  (R, ...) inputs of the network: a buffer, saved with the weights
    """

    reference: Tensor

    def __init__(self, network: nn.Module, reference: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("reference", reference)
        for layer in network.modules():
            if isinstance(layer, VirtualBatchNorm):
                layer.reference_size = len(reference)

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...) outputs of the network, without those of the reference batch."""
        out: Tensor = self.network(torch.cat([self.reference.to(x.dtype), x]))[len(self.reference) :]
        return out


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "instance": partial(nn.InstanceNorm2d, affine=True),
    "layer": partial(nn.GroupNorm, 1),
    "virtual": VirtualBatchNorm,
    "none": lambda channels: nn.Identity(),
}
"""Number of feature maps -> a layer (B, C, H, W) -> (B, C, H, W). "layer" is over all channels and pixels."""
