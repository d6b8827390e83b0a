"""Extractors fitted to the user's own images, for data without a suitable trained classifier."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.errors import SparringError
from sparring.metrics.extractors import Extractor, LeNet, digest_of, empty_network
from sparring.seeds import derive_seed, isolated, make_generator
from sparring.typed import require_images, typed

PIXELS = "pixels-pca64"
SELF = "self64"

LARGEST = 64
"""Larger images are resized to this side before the principal components are computed."""

FITTED_ON = 5000
"""Maximum number of images for the principal components."""

STEPS, BATCH, LR, TEMPERATURE = 150, 128, 2e-3, 0.2
SIDE = 32


class PrincipalComponents(nn.Module):
    """(N, C, S, S) -> features (N, 64): coordinates on the first principal components; no logits."""

    mean: Tensor
    directions: Tensor

    def __init__(self, mean: Tensor, directions: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("directions", directions)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, S, S) in [-1, 1] -> (N, 64) or fewer features, and the first of them in place of logits."""
        features = (x.flatten(1) - self.mean) @ self.directions
        return features, features[:, :1]


@typed
def pixels_pca64(images: Tensor) -> Extractor:
    """An extractor of up to 64 principal components of the pixels of (N, C, S, S) uint8 images.

    Fitted to at most 5,000 images; deterministic. Raises SparringError for a single image.
    """
    require_images(0, torch.uint8, images=images)
    if len(images) < 2:
        raise SparringError(f"principal components need at least 2 images; got {len(images)}")
    size = min(images.shape[-1], LARGEST)
    preprocessing = Extractor(PIXELS, "", images.shape[1], size, (), None, nn.Identity())
    x = torch.cat([preprocessing.prepare(batch).flatten(1) for batch in images[:FITTED_ON].split(500)])
    mean = x.mean(0)
    count = min(64, len(x) - 1, x.shape[1])
    with isolated(derive_seed(PIXELS)):
        _, _, directions = torch.svd_lowrank(x - mean, q=min(count + 16, *x.shape), niter=4)
    network = PrincipalComponents(mean, directions[:, :count].contiguous()).requires_grad_(False)
    return Extractor(PIXELS, digest_of(network), images.shape[1], size, (), None, network)


@typed
def simclr64(images: Tensor) -> Extractor:
    """A LeNet trained on unlabeled (N, C, S, S) uint8 images with a contrastive loss: 64 features.

    Two augmented views of an image must have more similar features than views of different images (SimCLR, Chen et al.
    2020, eq. 1). 150 steps with fixed random numbers. Train it on images that are not used by the metrics: `evaluate`
    takes one half of the held-out images and leaves it out of the metrics.
    """
    require_images(0, torch.uint8, images=images)
    if len(images) < BATCH // 4:
        raise SparringError(f"{SELF} needs at least {BATCH // 4} images; got {len(images)}")
    channels = images.shape[1]
    stream = make_generator(SELF)
    network = empty_network(lambda: LeNet(channels, SIDE, 1))
    with isolated(derive_seed(SELF, "weights")):
        network.load_state_dict(LeNet(channels, SIDE, 1).state_dict())
        head = nn.Sequential(nn.ReLU(), nn.Linear(64, 64))
    preprocessing = Extractor(SELF, "", channels, SIDE, (), None, network)
    weights = [*network.trunk.requires_grad_(True).parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=LR, total_steps=STEPS)
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        for _ in range(STEPS):
            rows = torch.randperm(len(images), generator=stream)[:BATCH]
            x = preprocessing.prepare(images[rows])
            features = network.trunk(torch.cat([_augmented(x, stream), _augmented(x, stream)]))
            embeddings = F.normalize(head(features), dim=1)
            similarity = embeddings @ embeddings.T / TEMPERATURE
            similarity = similarity.masked_fill(torch.eye(len(similarity), dtype=torch.bool), -torch.inf)
            positives = torch.arange(len(similarity)).roll(len(rows))
            loss = F.cross_entropy(similarity, positives)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval().requires_grad_(False)
    return Extractor(SELF, digest_of(network), channels, SIDE, (), None, network)


def _augmented(x: Tensor, stream: torch.Generator) -> Tensor:
    """Random translation by up to 1/8 of the side, and random scale, contrast, brightness and noise."""
    n = len(x)
    scale = 1 + 0.3 * (torch.rand(n, generator=stream) - 0.5)
    shift = 0.5 * (torch.rand(n, 2, generator=stream) - 0.5)
    zero = torch.zeros(n)
    transform = torch.stack([torch.stack([scale, zero, shift[:, 0]], 1), torch.stack([zero, scale, shift[:, 1]], 1)], 1)
    grid = F.affine_grid(transform, list(x.shape), align_corners=False)
    moved = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    contrast, brightness = torch.rand(2, n, 1, 1, 1, generator=stream)
    noise = 0.05 * torch.randn(x.shape, generator=stream)
    out: Tensor = moved * (0.6 + 0.8 * contrast) + 0.4 * (brightness - 0.5) + noise
    return out
