"""Convolutions for several columns at once, against PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F

from raincleave.inference import precision
from raincleave.inference.columns import for_columns, for_pairs, regroup
from raincleave.inference.precision import computing_in, convolve


def _image(*shape):
    return torch.randn(*shape, dtype=torch.float64).contiguous(memory_format=torch.channels_last)


def test_regrouped_pixels_are_neighbours_in_a_row():
    x = _image(2, 3, 4, 6)
    pairs = regroup(x, 6)
    assert pairs.shape == (2, 6, 4, 3)
    assert pairs.data_ptr() == x.data_ptr()
    assert torch.equal(pairs[:, :3], x[..., ::2])
    assert torch.equal(pairs[:, 3:], x[..., 1::2])
    assert torch.equal(regroup(pairs, 3), x)


@pytest.mark.parametrize("columns", [1, 2, 3, 5])
def test_several_columns_at_a_stride(columns):
    x, weight = _image(2, 4, 5, 30), torch.randn(3, 4, 3, 3, dtype=torch.float64)
    wide = F.conv2d(x, for_columns(weight, columns), padding=1, stride=(1, columns))
    torch.testing.assert_close(regroup(wide, 3), F.conv2d(x, weight, padding=1))


def test_pairs_of_pixels():
    x, weight = _image(2, 4, 5, 8), torch.randn(3, 4, 3, 3, dtype=torch.float64)
    paired = F.conv2d(regroup(x, 8), for_pairs(weight), padding=1)
    torch.testing.assert_close(regroup(paired, 3), F.conv2d(x, weight, padding=1))


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7, 8, 20])
def test_convolutions_into_an_image_for_every_width(width):
    torch.manual_seed(0)
    x = torch.randn(2, 16, 6, width).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(3, 16, 3, 3), torch.randn(3)
    with torch.no_grad():
        result = convolve(x, weight, bias, "relu")
    torch.testing.assert_close(result, F.conv2d(x, weight, bias, padding=1).relu())


@pytest.mark.parametrize("width", [1, 7, 8])
@pytest.mark.parametrize("channels", [12, 16, 20])
def test_pairs_change_half_precision_by_no_more_than_it_rounds(monkeypatch, width, channels):
    torch.manual_seed(0)
    x = torch.randn(2, channels, 6, width).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(16, channels, 3, 3), torch.randn(16)
    added = torch.randn(2, 16, 6, width).contiguous(memory_format=torch.channels_last)
    results = []
    for amx in (False, True):
        monkeypatch.setattr(precision, "_amx", lambda amx=amx: amx)
        with torch.inference_mode(), computing_in(torch.bfloat16):
            results += [convolve(x, weight, bias, "relu")]
            results += [convolve(x, weight, None, "relu", added=added)]
    for single, paired in zip(results[:2], results[2:], strict=True):
        torch.testing.assert_close(paired, single, rtol=2**-7, atol=2**-7)


def test_pairs_follow_the_weight(monkeypatch):
    monkeypatch.setattr(precision, "_amx", lambda: True)
    x = torch.randn(1, 16, 6, 8).contiguous(memory_format=torch.channels_last)
    weight = torch.nn.Parameter(torch.randn(16, 16, 3, 3))
    results = []
    for _ in range(2):
        with torch.no_grad(), computing_in(torch.bfloat16):
            results.append(convolve(x, weight, None))
        weight.data.neg_()  # which raises no version
    assert torch.equal(results[1], -results[0])
