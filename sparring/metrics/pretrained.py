"""Pretrained extractors from a weights file of the user: Inception, DINOv2, CLIP. Nothing is downloaded.

FD is FID only with Inception features (FD-inception@n); values are comparable only for equal n.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from sparring.errors import SparringError, unknown_name_error
from sparring.metrics.extractors import Extractor, digest_of
from sparring.seeds import isolated
from sparring.typed import typed

INSTALL = "pip install 'sparring[extractors]'"


class Inception(nn.Module):
    """Inception V3 with TensorFlow's weights and resizing, from torch-fidelity: 2,048 features."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) in [-1, 1] -> (N, 2048) features and (N, 1008) logits."""
        features, logits = self.network(((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))
        return features, logits


class Transformer(nn.Module):
    """A vision transformer from timm: pooled features of images normalized as in its training."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], deviation: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(3, 1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, 224, 224) in [-1, 1] -> (N, F) features, and the first of them in place of logits."""
        features = self.network(((x + 1) / 2 - self.mean) / self.deviation)
        return features, features[:, :1]


def inception(weights: dict[str, Tensor]) -> tuple[nn.Module, int | None]:
    """The network and its input size; None: it resizes images itself, as TensorFlow did."""
    try:
        from torch_fidelity import feature_extractor_inceptionv3 as fidelity
    except ImportError:
        raise SparringError(f"inception requires torch-fidelity: {INSTALL}") from None
    with patch.object(fidelity, "load_state_dict_from_url", lambda *_, **__: weights):  # would download the weights
        return Inception(fidelity.FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"])), None


def transformer(name: str) -> Callable[[dict[str, Tensor]], tuple[nn.Module, int | None]]:
    """A function that builds the timm model `name` from its weights: the network and its input size, 224.

    It raises SparringError if timm is not installed.
    """

    def build(weights: dict[str, Tensor]) -> tuple[nn.Module, int | None]:
        try:
            import timm
            from timm.models.vision_transformer import checkpoint_filter_fn
        except ImportError:
            raise SparringError(f"{name} requires timm: {INSTALL}") from None
        network = timm.create_model(name, pretrained=False, num_classes=0, img_size=224)
        network.load_state_dict(checkpoint_filter_fn(weights, network))
        return Transformer(network, network.pretrained_cfg["mean"], network.pretrained_cfg["std"]), 224

    return build


PRETRAINED: dict[str, tuple[Callable[[dict[str, Tensor]], tuple[nn.Module, int | None]], str]] = {
    "inception": (
        inception,
        "weights-inception-2015-12-05-6726825d of torch-fidelity, as safetensors",
    ),
    "dinov2": (transformer("vit_small_patch14_dinov2"), "model.safetensors of timm/vit_small_patch14_dinov2.lvd142m"),
    "clip": (transformer("vit_base_patch32_clip_224"), "model.safetensors of timm/vit_base_patch32_clip_224.openai"),
}
"""Name -> function from weights to (network, input size), and a description of the file."""


@typed
def load_pretrained(name: str, file: Path) -> Extractor:
    """Load an extractor from a safetensors file.

    Raises SparringError for an unknown name, a file that cannot be read, and weights of another network.
    """
    if name not in PRETRAINED:
        raise unknown_name_error("extractor that takes a weights file", name, PRETRAINED)
    build, expected = PRETRAINED[name]
    try:
        weights = safetensors.torch.load_file(file)
    except OSError as error:
        raise SparringError(
            f"cannot read {file}: {error.strerror or 'no such file'}; {name} takes {expected}"
        ) from None
    except safetensors.SafetensorError:
        raise SparringError(
            f"{file} is not a safetensors file (a .pth can hold code); {name} takes {expected}"
        ) from None
    with isolated(0):
        try:
            network, size = build(weights)
        except (RuntimeError, KeyError, AttributeError, TypeError) as error:
            raise SparringError(f"the weights in {file} do not fit {name}; it takes {expected}") from error
    network.eval().requires_grad_(False)
    return Extractor(name, digest_of(network), 3, size, (), None, network, slow=True)
