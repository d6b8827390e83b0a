"""Initial weights that papers name and PyTorch's layers do not have by default."""

from __future__ import annotations

from torch import nn


def xavier_uniform(network: nn.Module) -> nn.Module:
    """Glorot and Bengio 2010, eq. 16, on linear and transposed convolutional layers, as the CS231n notebook does.

    Biases and other convolutions keep PyTorch's own.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight)
    return network


def he(network: nn.Sequential) -> nn.Sequential:
    """He et al. 2015, eq. 10: N(0, 2 / inputs) convolutional and linear weights, zero biases."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def uniform(layer: nn.Linear, bound: float) -> nn.Linear:
    """U(-bound, bound) weights and zero bias."""
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.zeros_(layer.bias)
    return layer


def radford(network: nn.Module) -> nn.Module:
    """Radford et al. 2016, section 4: convolutions N(0, .02); batch norm gains N(1, .02), biases 0 (their code)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
            nn.init.zeros_(layer.bias)
    return network


def orthogonal(network: nn.Module) -> nn.Module:
    """Saxe et al. 2014: convolutional, linear and embedding weights with orthonormal rows or columns.

    A convolution counts as a matrix, outputs by all others. Biases keep PyTorch's own.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
            nn.init.orthogonal_(layer.weight)
    return network


def normal(network: nn.Module, std: float = 0.02) -> nn.Module:
    """N(0, std^2) convolutional, linear and embedding weights (BigGAN's CIFAR-10 script); biases keep PyTorch's own."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
            nn.init.normal_(layer.weight, 0.0, std)
    return network
