"""PSNR and SSIM exactly as the deraining papers' own scripts compute them.

A figure without its protocol is worth nothing: the same images differ by more than 1 dB between
two of them. A protocol here is four decisions, `Protocol`; the named ones are in `PROTOCOLS`:

| name      | 8 bits by | scored on       | SSIM shrinks | used by                              |
|-----------|-----------|-----------------|--------------|--------------------------------------|
| `csdwren` | floor     | luma, unrounded | yes          | DRN, SRN, BRN, PReNet, RRANet        |
| `mprnet`  | rounding  | luma, rounded   | no           | MSPFN, MPRNet, Restormer             |
| `rgb`     | rounding  | R, G and B      | no           | nobody's table, but a common request |

`psnr` and `ssim` give one float64 value for each image; `DerainPSNR` and `DerainSSIM` average
those over a dataset (the mean of per-image values, never one value from pooled errors).
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module
from torchmetrics import Metric

from raincleave.errors import ConfigError, ImageError

WINDOW = 11  # side of the Gaussian SSIM window, Wang et al. 2004
SIGMA = 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

_TOO_DARK, _TOO_BRIGHT = -0.5, 1.5
"""What a picture of [0, 1] does not reach, however it was resized."""


class Protocol(NamedTuple):
    """What a set of published scripts does to an image before, and while, scoring it.

    Attributes:
        save: how a float image in [0, 1] becomes the 8-bit file that is scored.
        luma: ``"double"`` for BT.601 luma as it comes, ``"integer"`` for luma rounded to 16 … 235
            as MATLAB's ``rgb2ycbcr`` gives for uint8, None for the three colours.
        downsample: whether SSIM first shrinks both images towards 256 pixels a side.
    """

    save: Literal["floor", "round"]
    luma: Literal["double", "integer"] | None
    downsample: bool


PROTOCOLS: dict[str, Protocol] = {
    "csdwren": Protocol(save="floor", luma="double", downsample=True),
    "mprnet": Protocol(save="round", luma="integer", downsample=False),
    "rgb": Protocol(save="round", luma=None, downsample=False),
}
"""The named protocols."""


def get_protocol(protocol: str | Protocol) -> Protocol:
    """The `Protocol` of a name; a `Protocol` is returned as it is.

    Raises:
        ConfigError: there is no protocol of that name.
    """
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        names = ", ".join(PROTOCOLS)
        raise ConfigError(f"there is no protocol {protocol!r}; it is one of {names}.")
    return PROTOCOLS[protocol]


def quantise(image: Tensor, protocol: str | Protocol = "csdwren") -> Tensor:
    """The 8-bit file that the protocol's scripts would have saved and scored.

    Args:
        image: any shape, float in [0, 1], clamped; uint8 comes back as it is.
        protocol: a name in `PROTOCOLS`, or a `Protocol`.

    Returns:
        The same shape, uint8.

    Raises:
        ConfigError: unknown protocol.
        ImageError: the image holds whole numbers other than uint8.

    Examples:
        >>> quantise(torch.tensor([0.5]), "csdwren"), quantise(torch.tensor([0.5]), "mprnet")
        (tensor([127], dtype=torch.uint8), tensor([128], dtype=torch.uint8))
    """
    return _levels(image.detach(), get_protocol(protocol).save).to(torch.uint8)


def psnr(test: Tensor, clean: Tensor, protocol: str | Protocol = "csdwren") -> Tensor:
    """Peak signal-to-noise ratio of each image, ``10 log10(255² / MSE)``.

    Args:
        test: images under test, (B, 3, H, W) RGB; float in [0, 1] (clamped and quantised as the
            protocol saves its files) or uint8 (finished images, taken as they are).
        clean: ground truth, the same shape; float in [0, 1] or uint8.
        protocol: a name in `PROTOCOLS`, or a `Protocol`.

    Returns:
        (B,) float64, in dB; infinite where an image equals its ground truth, NaN where it has NaN.

    Raises:
        ConfigError: unknown protocol.
        ImageError: the shapes differ or are not (B, 3, H, W), or the ground truth's range is
            another; of the image under test it may be any, as of a network's output.

    Examples:
        >>> test, clean = torch.full((1, 3, 8, 8), 0.5), torch.full((1, 3, 8, 8), 0.6)
        >>> for protocol in PROTOCOLS:
        ...     print(protocol, round(psnr(test, clean, protocol).item(), 2))
        csdwren 21.15
        mprnet 21.69
        rgb 20.17
    """
    x, y = _scored_planes(test, clean, get_protocol(protocol))
    mse = (x - y).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(255**2 / mse)


def ssim(test: Tensor, clean: Tensor, protocol: str | Protocol = "csdwren") -> Tensor:
    """Structural similarity of each image (Wang et al. 2004), 11×11 Gaussian, *valid* windows.

    Args:
        test: images under test, as in `psnr`.
        clean: ground truth, as in `psnr`.
        protocol: a name in `PROTOCOLS`, or a `Protocol`.

    Returns:
        (B,) float64, at most 1; the mean of the SSIM map (and of R, G and B without luma).

    Raises:
        ConfigError: unknown protocol.
        ImageError: the shapes differ, are not (B, 3, H, W), a side is below 11 pixels, or the
            ground truth's range is another.

    Examples:
        >>> test, clean = torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 16, 16), 0.6)
        >>> ssim(test, clean)
        tensor([0.9867], dtype=torch.float64)
    """
    rules = get_protocol(protocol)
    x, y = _scored_planes(test, clean, rules)
    height, width = x.shape[-2:]
    if min(height, width) < WINDOW:
        raise ImageError(
            f"SSIM needs images of at least {WINDOW}×{WINDOW} pixels; these are {width}×{height}."
        )
    if rules.downsample:
        factor = max(1, (min(height, width) + 128) // 256)  # MATLAB's round: halves upwards
        x, y = _downsample(x, factor), _downsample(y, factor)
    mean_x, mean_y = _blur(x), _blur(y)
    var_x = _blur(x * x) - mean_x.square()
    var_y = _blur(y * y) - mean_y.square()
    cov = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x.square() + mean_y.square() + C1)
    structure = (2 * cov + C2) / (var_x + var_y + C2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def _scored_planes(test: Tensor, clean: Tensor, rules: Protocol) -> tuple[Tensor, Tensor]:
    """Both images as the float64 planes on a scale of 0 … 255 that the protocol compares."""
    if test.shape != clean.shape or test.ndim != 4 or test.shape[1] != 3:
        raise ImageError(
            "scoring needs two RGB batches of one shape (B, 3, H, W); "
            f"these are {tuple(test.shape)} and {tuple(clean.shape)}."
        )
    # Clamped, images on another scale would be white or black, and one like the other.
    if clean.is_floating_point() and clean.numel():
        least, largest = (float(value) for value in clean.detach().aminmax())
        if largest > _TOO_BRIGHT:
            raise ImageError(
                "scoring takes floats in [0, 1] or uint8, but the ground truth has values up to "
                f"{largest:g}; divide by 255 first, or by what is white."
            )
        if least < _TOO_DARK:
            raise ImageError(
                "scoring takes floats in [0, 1] or uint8, but the ground truth has values down to "
                f"{least:g}; undo the normalisation first."
            )
    # The ground truth was 8-bit before it was scaled to [0, 1]: rounding restores its levels.
    x, y = _levels(test.detach(), rules.save), _levels(clean.detach(), "round")
    return _luma(x, rules.luma), _luma(y, rules.luma)


def _levels(image: Tensor, save: Literal["floor", "round"]) -> Tensor:
    """The whole levels 0 … 255 of the 8-bit file that an image is saved to, in float64."""
    if image.device.type == "mps":  # has no float64
        image = image.cpu()
    if image.dtype == torch.uint8:
        return image.double()
    if not image.is_floating_point():
        raise ImageError(
            f"8-bit levels come from floats in [0, 1] or from uint8, not from {image.dtype}; "
            "divide by what is white."
        )
    # The papers' scripts multiply in float32, where (k / 255) * 255 is k again for every level.
    if image.dtype != torch.float64:
        image = image.float()
    scaled = image.clamp(0, 1) * 255
    return (scaled.floor() if save == "floor" else scaled.round()).double()


def _luma(levels: Tensor, luma: Literal["double", "integer"] | None) -> Tensor:
    """BT.601 luma on 0 … 255 as MATLAB's ``rgb2ycbcr`` has it, or the levels themselves."""
    if luma is None:
        return levels
    # In thousandths the sum is a whole number, exact in float64, and ties round up as in MATLAB.
    red, green, blue = levels.split(1, dim=1)
    thousandths = 65_481 * red + 128_553 * green + 24_966 * blue
    if luma == "double":
        return thousandths / 255_000 + 16
    return torch.floor((thousandths + 127_500) / 255_000) + 16


def _downsample(image: Tensor, factor: int) -> Tensor:
    """``imfilter(image, ones(f)/f², 'symmetric')`` and of that every f-th pixel, from the first.

    MATLAB's centre of an even window is its upper left middle, so f = 2 looks right and down.
    """
    if factor == 1:
        return image
    before = (factor - 1) // 2
    for dim in (-2, -1):
        size = image.shape[dim]
        after = before + -(-size // factor) * factor - size  # the last window ends inside
        head, tail = image.narrow(dim, 0, before), image.narrow(dim, size - after, after)
        image = torch.cat([head.flip(dim), image, tail.flip(dim)], dim)
    return F.avg_pool2d(image, factor, stride=factor)


def _blur(image: Tensor) -> Tensor:
    """Gaussian mean over every window that lies wholly inside, one direction after the other."""
    offsets = torch.arange(WINDOW, dtype=image.dtype, device=image.device) - WINDOW // 2
    weights = torch.exp(-offsets.square() / (2 * SIGMA**2))
    taps = (weights / weights.sum()).tolist()
    for dim in (-2, -1):
        size = image.shape[dim] - WINDOW + 1
        # Shifted sums: float64 convolution has no fast kernel on a CPU.
        total = image.narrow(dim, 0, size) * taps[0]
        for shift, tap in enumerate(taps[1:], start=1):
            total.add_(image.narrow(dim, shift, size), alpha=tap)
        image = total
    return image


class _MeanOverImages(Metric):
    """The mean of one value for each image: a running sum and a count, no image is kept.

    Sizes may differ from one update to the next. Under DDP the sums of all processes are added,
    so the figure is exact if every image is seen once: give each process its own images with
    Lightning's ``UnrepeatedDistributedSampler``; the default one repeats some to even out.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, protocol: str = "csdwren", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        get_protocol(protocol)
        self.protocol = protocol
        zero = torch.zeros((), dtype=torch.float64)
        self.add_state("total", default=zero, dist_reduce_fx="sum")
        self.add_state("count", default=zero.long(), dist_reduce_fx="sum")
        # A MetricCollection lets metrics share what they add up where it was alike at first.
        number = torch.tensor(list(PROTOCOLS).index(protocol))
        self.add_state("rules", default=number, dist_reduce_fx="max")

    def compute(self) -> Tensor:
        """The mean over all images seen, a float64 scalar."""
        return self.total / self.count

    def _add(self, values: Tensor) -> None:
        self.total += values.sum().to(self.total.device)
        self.count += values.numel()

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Module:
        def move(state: Tensor) -> Tensor:
            device = fn(torch.empty(0)).device
            return state if device.type == "mps" else state.to(device)  # MPS has no float64

        # Only the device may change: `model.to(torch.bfloat16)` must leave the sums in float64.
        return super()._apply(move, exclude_state)


class DerainPSNR(_MeanOverImages):
    """Mean over images of `psnr` under a protocol.

    Args:
        protocol: ``"csdwren"``, ``"mprnet"`` or ``"rgb"``.
        **kwargs: torchmetrics' own arguments.

    Raises:
        ConfigError: unknown protocol.

    Examples:
        >>> metric = DerainPSNR("rgb")
        >>> metric.update(torch.full((2, 3, 8, 8), 0.5), torch.full((2, 3, 8, 8), 0.6))
        >>> round(metric.compute().item(), 3)  # levels 128 and 153
        20.172
    """

    def update(self, test: Tensor, clean: Tensor) -> None:
        """Add a batch; shapes, ranges and errors as in `psnr`."""
        self._add(psnr(test, clean, self.protocol))


class DerainSSIM(_MeanOverImages):
    """Mean over images of `ssim` under a protocol.

    Args:
        protocol: ``"csdwren"``, ``"mprnet"`` or ``"rgb"``.
        **kwargs: torchmetrics' own arguments.

    Raises:
        ConfigError: unknown protocol.

    Examples:
        >>> metric = DerainSSIM("rgb")
        >>> metric.update(torch.full((2, 3, 16, 16), 0.5), torch.full((2, 3, 16, 16), 0.6))
        >>> round(metric.compute().item(), 4)
        0.9843
    """

    def update(self, test: Tensor, clean: Tensor) -> None:
        """Add a batch; shapes, ranges and errors as in `ssim`."""
        self._add(ssim(test, clean, self.protocol))
