"""Streaks drawn at random, and all streaks of a batch painted in one go.

Every streak is a line with a Gaussian profile across and soft ends along.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from raincleave.data.rain import Rain


class Draw:
    """Random numbers for ``count`` images, all from one CPU generator."""

    def __init__(self, count: int, generator: torch.Generator | None) -> None:
        self.count, self.generator = count, generator

    def uniform(self, low: float, high: float) -> Tensor:
        """(count,), evenly in [low, high)."""
        return low + (high - low) * torch.rand(self.count, generator=self.generator)

    def log_uniform(self, low: float, high: float) -> Tensor:
        """(count,), with an even logarithm in [low, high), both above 0."""
        return self.uniform(math.log(low), math.log(high)).exp()

    def integer(self, low: int, high: int) -> Tensor:
        """(count,), whole numbers from low to high, both included."""
        return torch.randint(low, high + 1, (self.count,), generator=self.generator)

    def normal(self, *shape: int) -> Tensor:
        """(count, *shape), standard normal."""
        return torch.randn(self.count, *shape, generator=self.generator)


class Streaks(NamedTuple):
    """Flat tensors, one entry a streak; lengths in pixels, angles in radians."""

    layer: Tensor
    """Index over the layers of all images; an image whose streaks have no ceiling is one layer."""
    x: Tensor
    y: Tensor
    angle: Tensor
    length: Tensor
    sigma: Tensor
    peak: Tensor
    taper: Tensor

    def to(self, device: torch.device) -> "Streaks":
        """All of it on the device."""
        return Streaks(*(t.to(device) for t in self))


def draw_streaks(
    rain: Rain, draw: Draw, height: int, width: int, wanted: Tensor
) -> tuple[Streaks, Tensor | None]:
    """Draw the streaks of every wanted image, over a field wider than the image by a streak.

    Returns:
        The streaks and, where layers have a ceiling, that of each, (count, layers) in image units.
    """
    length, sigma = draw.log_uniform(*rain.length), draw.log_uniform(*rain.width)
    directions = math.radians(rain.slant_offset) * draw.normal(rain.slants[1])
    directions[:, 0] = 0
    directions += torch.deg2rad(draw.uniform(*rain.slant))[:, None]
    used = draw.integer(*rain.slants)
    # Long enough for nearly every streak that could reach into the image.
    margin = length * math.exp(2 * rain.length_variation) / 2
    reach_y = margin * directions.cos().abs().amax(1) + 3
    reach_x = margin * directions.sin().abs().amax(1) + 3
    field = (height + 2 * reach_y) * (width + 2 * reach_x)
    # Means of the log-normal draws below; nearer streaks cover more than far ones.
    mean_area = length * sigma * math.sqrt(2 * math.pi)
    mean_area = mean_area * math.exp((rain.length_variation**2 + rain.width_variation**2) / 2)
    mean_area = mean_area * _mean_of_log_uniform(1 / rain.depth**2)
    expected = draw.log_uniform(*rain.cover) * field / mean_area
    number = torch.poisson(expected, generator=draw.generator).long() * wanted
    each = Draw(int(number.sum()), draw.generator)
    image = torch.arange(draw.count).repeat_interleave(number)
    near = each.log_uniform(1 / rain.depth, 1)
    blur = draw.uniform(*rain.blur)[image] * near
    group = (each.uniform(0, 1) * used[image]).long()
    level = draw.log_uniform(*rain.brightness)[:, None].repeat(1, rain.slants[1])
    ceiling = None
    if rain.hardness is not None:
        low, high = rain.level
        level *= low + (high - low) * torch.rand(level.shape, generator=draw.generator)
        ceiling, level = level, level * draw.log_uniform(*rain.hardness)[:, None]
    spread = torch.deg2rad(draw.uniform(*rain.spread))[image]
    peak = level[image, group] * near
    sharp = sigma[image] * (rain.width_variation * each.normal()).exp() * near
    # A streak narrower than a pixel is as wide as the pixel and fainter by as much.
    seen = (sharp**2 + blur**2 + 0.3**2).sqrt()
    variation = rain.brightness_variation
    layer = image if ceiling is None else image * rain.slants[1] + group
    streaks = Streaks(
        layer,
        (each.uniform(0, 1) * (width + 2 * reach_x[image])) - reach_x[image],
        (each.uniform(0, 1) * (height + 2 * reach_y[image])) - reach_y[image],
        directions[image, group] + spread * each.normal(),
        length[image] * (rain.length_variation * each.normal()).exp() * near,
        seen,
        peak * (variation * each.normal() - variation**2 / 2).exp() * sharp / seen,
        draw.uniform(*rain.taper)[image],
    )
    return streaks, ceiling


def _mean_of_log_uniform(low: float) -> float:
    return 1.0 if low == 1 else (low - 1) / math.log(low)


_STEPS_AT_ONCE = 2**18
"""So many steps of streaks are painted at once; a picture of 12 megapixels has tens of millions."""


def splat(s: Streaks, count: int, height: int, width: int) -> Tensor:
    """Sum the streaks into (count, 1, H, W).

    A steep streak is walked row by row, a flat one column by column; at each step the Gaussian
    across it is sampled at whole pixels, so that neighbouring steps neither overlap nor gap.
    """
    steep = s.angle.cos().abs() >= s.angle.sin().abs()
    along, across = torch.where(steep, s.y, s.x), torch.where(steep, s.x, s.y)
    sine, cosine = s.angle.sin(), s.angle.cos()
    major = torch.where(steep, cosine, sine)  # step along the major axis per unit of length
    slope = torch.where(steep, sine, cosine) / major
    half = s.length / 2 * major.abs()
    limit = torch.where(steep, height, width)
    first = (along - half).ceil().clamp(min=0)
    steps = ((along + half).floor() - first + 1).clamp(min=0)
    steps = torch.minimum(steps, (limit - first).clamp(min=0)).long()
    ends = steps.cumsum(0)
    inverse = major.abs() / s.sigma
    radius = int((3 * (s.sigma / major.abs()).amax().item()) + 1) if len(s.sigma) else 1
    taps = torch.arange(-radius, radius + 1, device=ends.device)
    layer = torch.zeros(count * height * width, device=ends.device)
    total = int(ends[-1]) if len(ends) else 0
    for start in range(0, total, _STEPS_AT_ONCE):
        # One entry a step: which streak, and where on it.
        entry = torch.arange(start, min(start + _STEPS_AT_ONCE, total), device=ends.device)
        streak = torch.searchsorted(ends, entry, right=True)
        m = first[streak] + (entry - (ends - steps)[streak])
        n = across[streak] + (m - along[streak]) * slope[streak]
        t = (m - along[streak]).abs() / half[streak]  # 0 in the middle … 1 at the ends
        fade = ((1 - t) / (2 * s.taper[streak]).clamp(min=1e-3)).clamp(0, 1)
        value = s.peak[streak] * fade * fade * (3 - 2 * fade)
        # Gaussian across, at the whole pixels around n.
        pixel = n.round().long()[:, None] + taps
        weight = torch.exp(-0.5 * ((pixel - n[:, None]) * inverse[streak][:, None]).square())
        along_pixel, is_steep = m.long()[:, None], steep[streak][:, None]
        row = torch.where(is_steep, along_pixel, pixel)
        column = torch.where(is_steep, pixel, along_pixel)
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        index = (s.layer[streak][:, None] * height + row) * width + column
        layer.scatter_add_(0, index[inside], (value[:, None] * weight)[inside])
    return layer.view(count, 1, height, width)
