"""Discriminators that look at several images at once, so that a generator that repeats itself is found out."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from sparring.errors import SparringError


def cyclic_indices(count: int, multiple: int, device: torch.device) -> Tensor:
    """0 ... count - 1, then from 0 again up to the next multiple: rows that fill whole groups."""
    return torch.arange(-(-count // multiple) * multiple, device=device) % count


class MinibatchDiscrimination(nn.Module):
    """Salimans et al. 2016, section 3.2, as in their code: (B, inputs) -> (B, inputs + kernels).

    Each image gets, for each kernel, how near it is to all others of the batch: the sum of exp(-L1 distance) between
    rows of `dims` numbers. The columns of the linear map have norm exp(log_scale); the bias starts at -1. Their first
    batch scales distances so that the nearest other image is 2 away on average; here they start as they come.
    """

    batchwise: ClassVar[str] = "minibatch discrimination"

    def __init__(self, inputs: int, kernels: int = 100, dims: int = 5) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.randn(inputs, kernels, dims) * 0.05)
        self.log_scale = nn.Parameter(torch.zeros(kernels, dims))
        self.bias = nn.Parameter(torch.full((kernels,), -1.0))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.direction * (self.log_scale.exp() / self.direction.norm(dim=0))
        with torch.autocast(x.device.type, enabled=False):  # small distances drown in bf16
            rows = torch.tensordot(x.to(weight.dtype), weight, 1)
        distance = (rows[:, None] - rows).abs().sum(3)  # (B, B, kernels)
        near = torch.exp(-distance) * (1 - torch.eye(len(x), device=x.device, dtype=distance.dtype))[:, :, None]
        return torch.cat([x, near.sum(1) + self.bias], 1)


class MinibatchStd(nn.Module):
    """Karras et al. 2018, section 3: (B, C, H, W) -> (B, C + 1, H, W), the added map tells how much images differ.

    The standard deviation of every feature at every place over a group of consecutive images, averaged to one number
    per group. A last group that is not full is filled up from the beginning of the batch.
    """

    batchwise: ClassVar[str] = "minibatch standard deviation"

    def __init__(self, group: int = 4) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        group = min(self.group, len(x))
        groups = x[cyclic_indices(len(x), group, x.device)].unflatten(0, (-1, group))
        groups = groups.to(torch.promote_types(x.dtype, torch.float32))
        spread = (groups.var(1, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
        each = spread.repeat_interleave(group)[: len(x)].to(x.dtype)
        return torch.cat([x, each[:, None, None, None].expand(-1, 1, *x.shape[2:])], 1)


class PacDiscriminator(nn.Module):
    """Lin et al. 2018 (PacGAN): the network judges packs of m images, stacked along the channels; nothing else changes.

    network  (B/m, m C, H, W) -> (B/m, 1)

    (B, C, H, W) -> (B/m, 1) in training, where m must divide B. In evaluation mode every image gets its pack's score,
    (B, 1), and a last pack that is not full is filled up from the beginning of the batch.
    """

    def __init__(self, network: nn.Module, m: int) -> None:
        super().__init__()
        self.network, self.m = network, m

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) % self.m:
            raise SparringError(f"{len(x)} images cannot be put in packs of {self.m}: choose --batch a multiple of it")
        packs = x[cyclic_indices(len(x), self.m, x.device)].reshape(-1, self.m * x.shape[1], *x.shape[2:])
        scores = self.network(packs)
        return scores if self.training else scores.repeat_interleave(self.m, 0)[: len(x)]
