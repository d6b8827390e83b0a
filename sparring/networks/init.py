"""Weight initializations of papers that are not PyTorch's defaults."""

from __future__ import annotations

import math
from typing import TypeVar

from torch import nn

Network = TypeVar("Network", bound=nn.Module)
Layer = TypeVar("Layer", nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def xavier_uniform(network: Network) -> Network:
    """Glorot and Bengio 2010, eq. 16, on linear and transposed convolutional layers, as the CS231n notebook does.

    Biases and other convolutions keep PyTorch's defaults.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight)
    return network


def kaiming(network: Network) -> Network:
    """He et al. 2015, eq. 10: N(0, 2 / inputs) convolutional and linear weights, zero biases."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def uniform(layer: Layer, bound: float) -> Layer:
    """U(-bound, bound) weights and zero bias."""
    nn.init.uniform_(layer.weight, -bound, bound)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def glorot_he(layer: Layer, *, he: bool = True) -> Layer:
    """U(-b, b) weights with b^2 = 12 / (fan in + fan out), or 6 without `he`, and zero bias.

    The initialization of Gulrajani et al. 2017 (their tflib): Glorot and Bengio 2010, eq. 16, times the gain of He et
    al. 2015 if a ReLU follows. With stride s, a pixel of the larger image is connected to 1 / s^2 of the kernel.
    """
    larger, smaller = layer.weight.shape[1], layer.weight.shape[0]  # channels of the larger and of the smaller image
    kernel_area, stride = (1, 1) if isinstance(layer, nn.Linear) else (layer.weight[0, 0].numel(), layer.stride[0])
    return uniform(layer, ((12 if he else 6) / (kernel_area * (larger + smaller / stride**2))) ** 0.5)


def dcgan(network: Network) -> Network:
    """Radford et al. 2016, section 4: convolutions N(0, .02); batch norm gains N(1, .02), biases 0 (their code)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
            nn.init.zeros_(layer.bias)
    return network


def dcgan_tensorflow(network: nn.Sequential, *, gains: float = 0.02) -> nn.Sequential:
    """DCGAN's TensorFlow code, also used by InfoGAN and PacGAN: N(0, .02) weights and zero biases.

    Ordinary convolutions are truncated at +- .04. gains: standard deviation of batch norm's gains around 1.
    """
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            nn.init.trunc_normal_(layer.weight, 0.0, 0.02, -0.04, 0.04)
        elif isinstance(layer, nn.Linear | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, gains)
    for name, weight in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(weight)
    return network


def orthogonal(network: Network) -> Network:
    """Saxe et al. 2014: convolutional, linear and embedding weights with orthonormal rows or columns.

    A convolution kernel is treated as a matrix of outputs by all other dimensions. Biases keep PyTorch's defaults.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
            nn.init.orthogonal_(layer.weight)
    return network


def normal(network: Network, std: float, *, zero_bias: bool = False) -> Network:
    """N(0, std^2) convolutional, linear and embedding weights; zero biases with `zero_bias`, else unchanged."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.Embedding):
            nn.init.normal_(layer.weight, 0.0, std)
            if zero_bias and not isinstance(layer, nn.Embedding) and layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def lecun_normal(layer: Layer, gain: float = 1.0) -> Layer:
    """N(0, gain^2 / fan_in) weights; the bias is unchanged (LeCun et al. 1998, Efficient BackProp, for a gain of 1)."""
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(layer.weight[0].numel()))
    return layer


def glorot(network: Network) -> Network:
    """Lasagne's default: Glorot and Bengio 2010, eq. 16, for every matrix and kernel; vectors are unchanged."""
    for weight in network.parameters():
        if weight.ndim > 1:
            nn.init.xavier_uniform_(weight)
    return network


def keras(network: nn.Sequential, *, heads: int = 1) -> nn.Sequential:
    """Keras's default: `glorot`, and zero biases.

    heads  number of equal parts of the last layer that are separate layers in Keras
    """
    glorot(network)
    for weight in network.parameters():
        if weight.ndim == 1:
            nn.init.zeros_(weight)
    last = network[-1]
    if heads > 1 and isinstance(last, nn.Linear):
        for part in last.weight.detach().chunk(heads):
            nn.init.xavier_uniform_(part)
    return network


def deeppy(network: nn.Sequential) -> nn.Sequential:
    """The initialization of deeppy, the library of VAE/GAN's code: U(-b, b), b^2 = 1 / (3 fan_in), and zero biases."""
    for layer in network:
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            bound = 1 / math.sqrt(3 * layer.weight[0].numel())
            nn.init.uniform_(layer.weight, -bound, bound)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def smu(network: nn.Sequential) -> nn.Sequential:
    """The SMU course's frogs: convolutions N(0, .02^2), batch norm gains N(1, .02^2), linear layers Glorot and .01."""
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.constant_(layer.bias, 0.01)
    return network
