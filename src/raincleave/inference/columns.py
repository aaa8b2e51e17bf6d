"""The same convolution, computed for several columns at once, where a processor does so faster.

Pictures in channels_last lie in memory pixel by pixel: a row of W pixels of C channels is, without
a copy, one of W/2 pixels of 2C channels. A kernel enlarged to match has zeros in places, and adds
up the same products.
"""

import torch
from torch import Tensor


def regroup(x: Tensor, channels: int) -> Tensor:
    """Neighbours in a row as one pixel, or parted again; the memory stays the same.

    Args:
        x: (B, C, H, W), channels_last.
        channels: of the result; W · C must be a multiple of it.

    Returns:
        (B, channels, H, W · C / channels), channels_last.
    """
    batch, _, height, _ = x.shape
    return x.permute(0, 2, 3, 1).reshape(batch, height, -1, channels).permute(0, 3, 1, 2)


def for_columns(weight: Tensor, columns: int) -> Tensor:
    """The kernel that computes so many columns next to each other, at a stride of as many.

    Args:
        weight: (O, I, h, w).
        columns: k.

    Returns:
        (k·O, I, h, w + k − 1), the outputs of the first column first.
    """
    outputs, inputs, height, width = weight.shape
    wide = weight.new_zeros(columns * outputs, inputs, height, width + columns - 1)
    for k in range(columns):
        wide[k * outputs : (k + 1) * outputs, :, :, k : k + width] = weight
    return wide


def for_pairs(weight: Tensor) -> Tensor:
    """The kernel for pixels taken in pairs, see `regroup`.

    Args:
        weight: (O, I, h, 3).

    Returns:
        (2·O, 2·I, h, 3).
    """
    outputs, inputs, height, _ = weight.shape
    # Two columns see four pixels: half of the pair before, the pair, half of the pair behind.
    four = for_columns(weight, 2)
    none = torch.zeros_like(four[..., :1])
    six = torch.cat((none, four, none), 3).view(2 * outputs, inputs, height, 3, 2)
    return six.permute(0, 4, 1, 2, 3).reshape(2 * outputs, 2 * inputs, height, 3)
