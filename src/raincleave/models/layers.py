"""The pieces the five networks share. Convolutions have stride 1 and bias, and keep the size."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raincleave.inference.precision import (
    Activation,
    as_computed,
    blend,
    convolve,
    convolve_parts,
    in_full,
    plus,
    tanh,
    times,
)

State = tuple[Tensor, ...]
"""What a recurrent cell carries from stage to stage: (h, c) for an LSTM, (h,) for a GRU."""


class Conv(nn.Conv2d):
    """A convolution that keeps height and width, with its activation; see `convolve`."""

    bias: nn.Parameter

    def __init__(self, inputs: int, outputs: int, size: int = 3) -> None:
        super().__init__(inputs, outputs, size, padding=size // 2)

    def forward(self, x: Tensor, activation: Activation = "none", *parameters: float) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H, W), with the activation behind it."""
        return convolve(x, self.weight, self.bias, activation, *parameters)


class ResBlock(nn.Module):
    """``h ← ReLU(conv-ReLU-conv-ReLU(h) + h)`` (DRN, section 2.2; BRN, section III).

    Args:
        channels: channels in and out.
        nonnegative: the input is known to be ≥ 0 (it comes out of a ReLU). Both summands are then
            ≥ 0 and the outer ReLU changes nothing, so it is left out: the result and the gradient
            are the same, and one pass over memory is saved.
    """

    def __init__(self, channels: int, nonnegative: bool = False) -> None:
        super().__init__()
        self.conv1 = Conv(channels, channels)
        self.conv2 = Conv(channels, channels)
        self.nonnegative = nonnegative

    def forward(self, h: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C, H, W), ≥ 0."""
        h = plus(self.conv2(self.conv1(h, "relu"), "relu"), h)
        return h if self.nonnegative else F.relu(h)


def res_block_chain(count: int, channels: int) -> nn.Sequential:
    """A chain of ResBlocks behind a recurrent cell; only the first can meet negative values."""
    return nn.Sequential(*(ResBlock(channels, nonnegative=i > 0) for i in range(count)))


class ConvLSTM(nn.Module):
    """Convolutional LSTM (BRN, eq. 3, 6 and 7).

    ``i, f, o = σ(W * s)``, ``g = tanh(W * s)`` with ``s = cat(z, h, seen …)``;
    ``c ← f·c + i·g``, ``h ← o·tanh(c)``. The four gates are one convolution.

    Args:
        inputs: channels of ``z`` and of everything else the gates see, besides the cell's own h.
        channels: channels of h and c.
    """

    radius: ClassVar[int] = 1
    """How far its new state sees, in pixels."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.gates = Conv(inputs + channels, 4 * channels)

    def forward(self, z: Tensor, state: State | None, *seen: Tensor | None) -> State:
        """One stage: ``z`` (B, C, H, W), the old (h, c), other cells' h → the new (h, c).

        None stands for the zeros before the first stage. They are left out of the convolution, and
        with c the forget gate is.
        """
        h, c = state or (None, None)
        weight = as_computed(self.gates.weight)
        bias: Tensor = self.gates.bias
        given = (z, h, *seen)
        present = [s for s in given if s is not None]
        if len(present) < len(given):
            columns = weight.split(z.shape[1], 1)
            weight = torch.cat([w for w, s in zip(columns, given, strict=True) if s is not None], 1)
        s = torch.cat([s.to(z.dtype) for s in present], 1) if len(present) > 1 else z
        if c is None:
            kept = [weight.chunk(4), bias.chunk(4)]
            weight, bias = (torch.cat((part[0], *part[2:])) for part in kept)
            i, o, g = convolve_parts(s, weight, bias, ("sigmoid", "sigmoid", "tanh"))
            # c sums over stages: in float32 at least.
            c = (in_full(i) * g).to(z.dtype if z.dtype.itemsize >= 4 else torch.float32)
        else:
            i, f, o, g = convolve_parts(s, weight, bias, ("sigmoid", "sigmoid", "sigmoid", "tanh"))
            c = blend(f, c, i, g)
        return times(o, tanh(c).to(o.dtype)), c


class ConvGRU(nn.Module):
    """Convolutional gated recurrent unit (BRN, section III-A and IV-A).

    ``u, b = σ(W * cat(z, h, seen …))``, ``g = tanh(W * cat(b·h, z, seen …))`` (state first),
    ``h ← (1 − u)·h + u·g``.

    Args:
        inputs: channels of ``z`` and of everything else the gates see, besides the cell's own h.
        channels: channels of h.
    """

    radius: ClassVar[int] = 2
    """How far its new state sees, in pixels: the candidate sees the gate, which sees h."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.gates = Conv(inputs + channels, 2 * channels)
        self.candidate = Conv(inputs + channels, channels)

    def forward(self, z: Tensor, state: State | None, *seen: Tensor | None) -> State:
        """One stage: ``z`` (B, C, H, W), the old (h,), other cells' h → the new (h,).

        None stands for the zeros before the first stage.
        """
        (h,) = state or (torch.zeros_like(z),)
        others = [torch.zeros_like(z) if other is None else other for other in seen]
        s = torch.cat((z, h, *others), 1)
        weight = as_computed(self.gates.weight)
        u, b = convolve_parts(s, weight, self.gates.bias, ("sigmoid", "sigmoid"))
        g = self.candidate(torch.cat((b * h, z, *others), 1), "tanh")
        return ((1 - u) * h + u * g,)


CELLS: dict[str, type[ConvLSTM] | type[ConvGRU]] = {"lstm": ConvLSTM, "gru": ConvGRU}


def rlcn(image: Tensor, window: int = 9, eps: float = 1e-5) -> Tensor:
    """Rectified local contrast normalisation (RRANet, eq. 2).

    ``max(I − μ, 0) / (σ + ε)`` in a square window around each pixel, each channel by itself. Marks
    pixels brighter than their neighbourhood, the candidates for rain. At the border only real
    pixels count; σ is the unbiased standard deviation.

    Args:
        image: rainy image, (B, C, H, W), in [0, 1].
        window: side of the square neighbourhood in pixels, odd. The paper leaves it open.
        eps: added to the standard deviation, in image units. The paper leaves it open.

    Returns:
        (B, C, H, W), in [0, 1]; zero where the pixel is no brighter than its mean.

    Raises:
        ValueError: ``window`` is even or below 3.

    Examples:
        >>> image = torch.full((1, 1, 3, 5), 0.4)
        >>> image[..., 2] = 0.9  # a streak
        >>> rlcn(image, window=3)[0, 0, 0]
        tensor([0., 0., 1., 0., 0.])
    """
    if window < 3 or window % 2 == 0:
        raise ValueError(f"the window of rlcn must be an odd number from 3 up, not {window}")
    # float32 at least: σ² is a small difference of large sums.
    exact = image.float() if image.dtype in (torch.float16, torch.bfloat16) else image
    with torch.autocast(image.device.type, enabled=False):
        # Centring first keeps the difference of sums well conditioned. By a constant: the image's
        # own mean would let every pixel see the whole image, and tiles differ in flat places.
        centred = exact - 0.5
        count = _box_sum(torch.ones_like(centred[:1, :1]), window)
        mean = _box_sum(centred, window) / count
        squares = _box_sum(centred * centred, window) - count * mean * mean
        # In flat places the clamp keeps the square root's gradient finite, and rounding errors from
        # passing for contrast; 8-bit images have no smaller deviation but zero.
        deviation = (squares / (count - 1).clamp(min=1)).clamp(min=1e-10).sqrt()
        contrast = (centred - mean).clamp(min=0) / (deviation + eps)
    return contrast.clamp(max=1).to(image.dtype)


def _box_sum(x: Tensor, window: int) -> Tensor:
    """Sums over a window × window box, zeros outside; (B, C, H, W) → (B, C, H, W)."""
    r = window // 2
    # Not divisor_override, which the export to ONNX passes over in silence.
    x = F.avg_pool2d(x, (window, 1), 1, (r, 0)) * window
    return F.avg_pool2d(x, (1, window), 1, (0, r)) * window


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Extend (B, C, H, W) at the bottom and right to a multiple of ``multiple``.

    By reflection where the image is long enough for it, else by repeating its last row or column.
    An image that fits already is returned as it is, without a copy.

    Examples:
        >>> pad_to_multiple(torch.zeros(1, 3, 13, 17), 8).shape
        torch.Size([1, 3, 16, 24])
    """
    height, width = image.shape[-2:]
    down, right = -height % multiple, -width % multiple
    if down:
        image = F.pad(image, (0, 0, 0, down), "reflect" if down < height else "replicate")
    if right:
        image = F.pad(image, (0, right, 0, 0), "reflect" if right < width else "replicate")
    return image
