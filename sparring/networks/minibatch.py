"""Layers that let a discriminator compare images of a batch, against mode collapse."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from sparring.errors import SparringError


def cyclic_indices(count: int, multiple: int, device: torch.device) -> Tensor:
    """Indices 0 ... count - 1, cyclically continued up to the next multiple, to fill whole groups."""
    return torch.arange(-(-count // multiple) * multiple, device=device) % count


class MinibatchDiscrimination(nn.Module):
    """Salimans et al. 2016, section 3.2, as in their code: (B, inputs) -> (B, inputs + kernels).

    For each kernel an image gets its closeness to all others of the batch: the sum of exp(-L1 distance) between rows of
    `dims` numbers. The columns of the linear map have norm exp(log_scale); the bias starts at -1. Their code rescales
    distances with the first batch so that the nearest image is at distance 2 on average; ours does not.
    """

    batchwise: ClassVar[str] = "minibatch discrimination"

    def __init__(self, inputs: int, kernels: int = 100, dims: int = 5) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.randn(inputs, kernels, dims) * 0.05)
        self.log_scale = nn.Parameter(torch.zeros(kernels, dims))
        self.bias = nn.Parameter(torch.full((kernels,), -1.0))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) -> (B, inputs + kernels)."""
        weight = self.direction * (self.log_scale.exp() / self.direction.norm(dim=0))
        with torch.autocast(x.device.type, enabled=False):  # bf16 is too coarse for small distances
            rows = torch.tensordot(x.to(weight.dtype), weight, 1)
        distance = (rows[:, None] - rows).abs().sum(3)  # (B, B, kernels)
        near = torch.exp(-distance) * (1 - torch.eye(len(x), device=x.device, dtype=distance.dtype))[:, :, None]
        return torch.cat([x, near.sum(1) + self.bias], 1)


class MinibatchStd(nn.Module):
    """Karras et al. 2018, section 3: (B, C, H, W) -> (B, C + 1, H, W), the added map measures variation in a group.

    The standard deviation of every feature at every place over a group of consecutive images, averaged to one number
    per group. An incomplete last group is filled up from the beginning of the batch.
    """

    batchwise: ClassVar[str] = "minibatch standard deviation"

    def __init__(self, group: int = 4) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C + 1, H, W)."""
        group = min(self.group, len(x))
        groups = x[cyclic_indices(len(x), group, x.device)].unflatten(0, (-1, group))
        groups = groups.to(torch.promote_types(x.dtype, torch.float32))
        spread = (groups.var(1, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
        each = spread.repeat_interleave(group)[: len(x)].to(x.dtype)
        return torch.cat([x, each[:, None, None, None].expand(-1, 1, *x.shape[2:])], 1)


class PacDiscriminator(nn.Module):
    """Lin et al. 2018 (PacGAN): the network scores packs of m images, concatenated along the channels.

    network  (B/m, m C, H, W) -> (B/m, 1)

    (B, C, H, W) -> (B/m, 1) in training, where m must divide B. In evaluation mode every image gets its pack's score,
    (B, 1), and an incomplete last pack is filled up from the beginning of the batch.
    """

    def __init__(self, network: nn.Module, m: int) -> None:
        super().__init__()
        self.network, self.m = network, m

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B/m, 1) scores in training mode, (B, 1) in evaluation mode.

        Raises SparringError if m does not divide B in training mode.
        """
        if self.training and len(x) % self.m:
            raise SparringError(f"a batch of {len(x)} is not a multiple of the packing {self.m}: change --batch")
        packs = x[cyclic_indices(len(x), self.m, x.device)].reshape(-1, self.m * x.shape[1], *x.shape[2:])
        scores = self.network(packs)
        out: Tensor = scores if self.training else scores.repeat_interleave(self.m, 0)[: len(x)]
        return out
