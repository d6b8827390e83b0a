"""Power at the Nyquist frequencies in closed form; what upsampling does to a constant image (Odena et al. 2016)."""

import pytest
import torch
from torch import nn

from sparring.errors import SparringError
from sparring.metrics import checkerboard_power, power_spectrum, prominence
from sparring.monitor.observer import checkerboard


def test_closed_forms():
    row, column = torch.arange(8)[:, None], torch.arange(6)[None, :]
    board = 0.3 * (-1.0) ** (row + column)
    stripes = 0.5 * (-1.0) ** column.expand(8, 6)
    assert checkerboard(torch.full((2, 3, 8, 6), 7.0)) == pytest.approx(0, abs=1e-12)
    assert checkerboard(board[None, None]) == pytest.approx(0.09)
    assert checkerboard((board + stripes + 5)[None, None]) == pytest.approx(0.09 + 0.25)
    slow = torch.sin(2 * torch.pi * torch.arange(8) / 8)[:, None].expand(8, 6)
    assert checkerboard(slow[None, None]) == pytest.approx(0, abs=1e-12)


def of_ones(kernel, dimensions=2):
    """A transposed convolution with stride 2 and all-ones weights of an all-ones signal, away from the border."""
    make = nn.ConvTranspose2d if dimensions == 2 else nn.ConvTranspose1d
    layer = make(1, 1, kernel, stride=2, bias=False)
    nn.init.ones_(layer.weight)
    out = layer(torch.ones(1, 1, *[12] * dimensions)).detach()
    return out[..., 8:16, 8:16] if dimensions == 2 else out[..., 8:16]


def test_overlap_is_even_only_where_the_stride_divides_the_kernel():
    assert of_ones(4, 1).flatten().tolist() == [2.0] * 8
    assert of_ones(3, 1).flatten().tolist() in ([1.0, 2.0] * 4, [2.0, 1.0] * 4)
    assert sorted(of_ones(3).unique().tolist()) == [1.0, 2.0, 4.0]
    assert checkerboard(of_ones(4)) == pytest.approx(0, abs=1e-12)
    assert checkerboard(of_ones(2)) == pytest.approx(0, abs=1e-12)
    # 1, 2, 4 in a 2x2 cell: mean 9/4; the three peaks are (3/4)^2, (3/4)^2 and (1/4)^2
    assert checkerboard(of_ones(3)) == pytest.approx(0.5625 + 0.5625 + 0.0625)
    assert checkerboard(of_ones(5)) > 0.1


def test_resizing_before_a_convolution_leaves_a_constant_constant():
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding=1, bias=False))
    out = layer(torch.ones(1, 1, 12, 12)).detach()[..., 4:-4, 4:-4]
    assert checkerboard(out) == pytest.approx(0, abs=1e-12)


def test_a_pattern_stands_out_and_noise_and_blocks_do_not():
    g = torch.Generator().manual_seed(0)
    label_smoothing = nn.functional.interpolate(torch.rand(200, 1, 7, 7, generator=g), 28, mode="bicubic")
    noisy = label_smoothing + 0.2 * torch.randn(label_smoothing.shape, generator=g)
    board = (torch.arange(28)[:, None] + torch.arange(28)).remainder(2) * 2 - 1
    checked = label_smoothing * (1 + 0.2 * board)  # as uneven overlap does: a factor
    blocks = torch.rand(200, 1, 7, 7, generator=g).repeat_interleave(4, 2).repeat_interleave(4, 3)
    almost = blocks + 0.02 * nn.functional.interpolate(torch.randn(200, 1, 14, 14, generator=g), 28, mode="nearest")
    spectra = {name: power_spectrum(images) for name, images in
               {"noisy": noisy, "checked": checked, "blocks": blocks, "almost": almost}.items()}  # fmt: skip
    assert prominence(spectra["noisy"], 2) == pytest.approx(1, abs=0.3)
    assert prominence(spectra["noisy"], 4) == pytest.approx(1, abs=0.3)
    assert prominence(spectra["checked"], 2) > 5
    assert checkerboard_power(spectra["blocks"], 4) < 1e-9  # blocks have no power there at all,
    assert checkerboard_power(spectra["almost"], 4) > 100 * checkerboard_power(
        spectra["blocks"], 4
    )  # and samples of them have some,
    assert prominence(spectra["almost"], 4) < 1  # which does not stand out
    assert prominence(torch.zeros(8, 8), 2) == 0
    with pytest.raises(SparringError, match="no frequency 1/4"):
        prominence(spectra["noisy"][:27, :27], 4)
