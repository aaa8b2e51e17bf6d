"""Rain drawn on clean photographs: streaks, veil, and what a camera does to them.

The model of the papers' benchmarks is ``O = clip(B + R)`` with an achromatic layer ``R ≥ 0`` of
straight streaks. Every streak here is drawn by itself, as a line with a Gaussian profile across and
soft ends along, so that its parameters are the ones a person would name: direction, length, width,
brightness. All streaks of a batch are drawn in one go, on any device.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from raincleave.data.textures import RainTextures
from raincleave.errors import ConfigError

Range = tuple[float, float]
Preset = Literal["light", "heavy", "real"]


class Rendered(NamedTuple):
    """A rainy batch and what was added to it."""

    rainy: Tensor
    """(B, 3, H, W), in [0, 1]."""
    rain: Tensor
    """(B, 1, H, W), the layer R ≥ 0 of the streaks, in image units, before clipping."""


@dataclass(frozen=True)
class Rain:
    """What rain looks like. Every range (low, high) is drawn from anew for each image."""

    slant: Range = (-30, 30)
    """Main direction in degrees from vertical, uniform."""
    slants: tuple[int, int] = (1, 1)
    """Number of directions in one image."""
    slant_offset: float = 10
    """Standard deviation of the further directions about the main one, in degrees."""
    spread: Range = (0, 1.5)
    """Standard deviation of single streaks about their direction, in degrees, uniform."""
    cover: Range = (0.05, 0.2)
    """Streaks that lie over a pixel on average, log-uniform."""
    length: Range = (15, 40)
    """Mean length of the streaks in pixels, log-uniform."""
    length_variation: float = 0.3
    """Standard deviation of log(length) within an image."""
    width: Range = (0.6, 1.0)
    """Mean σ of the Gaussian profile across a streak, in pixels, log-uniform."""
    width_variation: float = 0.15
    """Standard deviation of log(width) within an image."""
    brightness: Range = (0.1, 0.3)
    """Mean peak brightness of the streaks, in image units, log-uniform."""
    brightness_variation: float = 0.4
    """Standard deviation of log(brightness) within an image."""
    taper: Range = (0.2, 0.5)
    """Part of a streak over which each end fades, 0 … 0.5, uniform."""
    depth: float = 1.0
    """Farthest layer's distance over the nearest one's; far streaks are short, thin and faint."""
    blur: Range = (0, 0)
    """Depth of field: σ in pixels by which the nearest streaks are out of focus, uniform."""
    screen: float = 0.0
    """Probability that the rain is blended by screen, 1 − (1 − B)(1 − R), instead of added."""
    veil: Range = (0, 0)
    """Share of the picture replaced by even grey mist, uniform."""
    tint: float = 0.0
    """Standard deviation of the streaks' colour about white, a channel; 0 is achromatic."""
    noise: Range = (0, 0)
    """σ of the sensor noise added after the rain, in image units, uniform."""
    jpeg: tuple[int, int] | None = None
    """Quality of a JPEG compression after everything else, uniform; None leaves it out."""


PRESETS: dict[str, Rain] = {
    "light": Rain(
        slant=(-25, 25),
        spread=(0, 1),
        cover=(0.045, 0.3),
        length=(15, 40),
        width=(0.6, 1.0),
        brightness=(0.16, 0.58),
        brightness_variation=0.5,
        taper=(0.3, 0.5),
    ),
    "heavy": Rain(
        slant=(-20, 20),
        slants=(1, 3),
        slant_offset=13,
        spread=(0.3, 2.0),
        cover=(0.55, 6),
        length=(40, 160),
        length_variation=0.5,
        width=(0.5, 0.9),
        brightness=(0.092, 0.178),
        brightness_variation=0.4,
        taper=(0.1, 0.45),
    ),
    "real": Rain(
        slant=(-40, 40),
        slants=(1, 2),
        spread=(0, 4),
        cover=(0.03, 1.2),
        length=(8, 90),
        length_variation=0.5,
        width=(0.5, 1.8),
        width_variation=0.25,
        brightness=(0.03, 0.35),
        brightness_variation=0.6,
        depth=4,
        blur=(0, 2.5),
        screen=0.5,
        veil=(0, 0.25),
        tint=0.02,
        noise=(0, 0.02),
        jpeg=(60, 98),
    ),
}


class RainRenderer(nn.Module):
    """Rain on clean images: ``rainy, rain = RainRenderer("heavy")(clean)``.

    Args:
        preset: ``"light"`` (like Rain100L), ``"heavy"`` (like Rain100H), ``"real"`` (broad: depth,
            veil, screen blend, blur, noise, JPEG), or a `Rain` of one's own.
        textures: genuine rain layers that take the place of drawn streaks.
        texture_rate: share of the images whose rain is a texture, 0 … 1.
        p: probability that an image gets rain at all; the others come back as they are.
        same_on_batch: one rain for the whole batch.
        generator: source of all randomness, on the CPU; torch's default one where None.

    Raises:
        ConfigError: the preset does not exist, or textures are asked for and none are given.
    """

    def __init__(
        self,
        preset: str | Rain = "heavy",
        *,
        textures: RainTextures | None = None,
        texture_rate: float = 0.0,
        p: float = 1.0,
        same_on_batch: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if isinstance(preset, str) and preset not in PRESETS:
            raise ConfigError(f"there is no rain {preset!r}; choose one of {', '.join(PRESETS)}.")
        if texture_rate > 0 and textures is None:
            raise ConfigError(f"texture_rate={texture_rate} needs textures to draw from.")
        self.rain = PRESETS[preset] if isinstance(preset, str) else preset
        self.textures, self.texture_rate = textures, texture_rate
        self.p, self.same_on_batch, self.generator = p, same_on_batch, generator

    def with_(self, **changes: object) -> "RainRenderer":
        """The same renderer with some fields of its `Rain` changed."""
        unknown = changes.keys() - {field.name for field in fields(Rain)}
        if unknown:
            raise ConfigError(f"rain has no {', '.join(sorted(unknown))}.")
        return RainRenderer(
            replace(self.rain, **changes),  # type: ignore[arg-type]
            textures=self.textures,
            texture_rate=self.texture_rate,
            p=self.p,
            same_on_batch=self.same_on_batch,
            generator=self.generator,
        )

    def forward(self, clean: Tensor, generator: torch.Generator | None = None) -> Rendered:
        """Render rain on a batch; the input is left untouched.

        Args:
            clean: (B, 3, H, W), in [0, 1], any size and device.
            generator: used instead of the renderer's own for this call.

        Returns:
            The rainy batch, (B, 3, H, W) in [0, 1], and its rain layer, (B, 1, H, W).
        """
        generator = generator if generator is not None else self.generator
        draw = _Draw(1 if self.same_on_batch else clean.shape[0], generator)
        layer = self._layer(draw, *clean.shape[-2:], clean.device)
        dry = draw.uniform(0, 1) >= self.p
        layer = layer.masked_fill(dry.to(clean.device).view(-1, 1, 1, 1), 0)
        rainy = self._blend(draw, clean, layer.to(clean.dtype))
        rainy = torch.where(dry.to(clean.device).view(-1, 1, 1, 1), clean, rainy)
        return Rendered(rainy, layer.expand(clean.shape[0], -1, -1, -1).to(clean.dtype))

    def _layer(self, draw: "_Draw", height: int, width: int, device: torch.device) -> Tensor:
        textured = draw.uniform(0, 1) < self.texture_rate
        layer = torch.zeros(draw.count, 1, height, width, device=device)
        if not textured.all():
            streaks = _streaks(self.rain, draw, height, width, ~textured)
            layer = _splat(streaks.to(device), draw.count, height, width)
        if self.textures is not None and textured.any():
            genuine = self.textures.sample(int(textured.sum()), height, width, draw.generator)
            layer[textured.to(device)] = genuine.to(device)
        return layer

    def _blend(self, draw: "_Draw", clean: Tensor, layer: Tensor) -> Tensor:
        """Streaks over the picture, then mist, clipping, noise and JPEG."""
        rain = self.rain

        def each(value: Tensor) -> Tensor:
            return value.to(clean).view(-1, 1, 1, 1)

        colour = layer * (1 + rain.tint * draw.normal(3).to(clean).view(-1, 3, 1, 1))
        colour = colour.clamp(min=0)
        screen = each(draw.uniform(0, 1) < rain.screen)
        rainy = clean + colour * (1 - screen * clean)
        if rain.veil[1] > 0:
            veil, grey = each(draw.uniform(*rain.veil)), each(draw.uniform(0.55, 0.9))
            rainy = rainy * (1 - veil) + grey * veil
        rainy = rainy.clamp(0, 1)
        if rain.noise[1] > 0:
            sigma = each(draw.uniform(*rain.noise))
            rainy = (rainy + sigma * draw.normal(*clean.shape[1:]).to(clean)).clamp(0, 1)
        if rain.jpeg is not None:
            from kornia.enhance import jpeg_codec_differentiable

            quality = draw.uniform(*rain.jpeg).to(clean).expand(clean.shape[0])
            rainy = jpeg_codec_differentiable(rainy, quality).clamp(0, 1)
        return rainy


class _Draw:
    """Random numbers for ``count`` images, all from one CPU generator."""

    def __init__(self, count: int, generator: torch.Generator | None) -> None:
        self.count, self.generator = count, generator

    def uniform(self, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(self.count, generator=self.generator)

    def log_uniform(self, low: float, high: float) -> Tensor:
        return self.uniform(math.log(low), math.log(high)).exp()

    def integer(self, low: int, high: int) -> Tensor:
        return torch.randint(low, high + 1, (self.count,), generator=self.generator)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.count, *shape, generator=self.generator)


class _Streaks(NamedTuple):
    """Flat tensors, one entry a streak; lengths in pixels, angles in radians."""

    image: Tensor
    x: Tensor
    y: Tensor
    angle: Tensor
    length: Tensor
    sigma: Tensor
    peak: Tensor
    taper: Tensor

    def to(self, device: torch.device) -> "_Streaks":
        return _Streaks(*(t.to(device) for t in self))


def _streaks(rain: Rain, draw: _Draw, height: int, width: int, wanted: Tensor) -> _Streaks:
    """Draw the streaks of every wanted image, over a field wider than the image by a streak."""
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
    each = _Draw(int(number.sum()), draw.generator)
    image = torch.arange(draw.count).repeat_interleave(number)
    near = each.log_uniform(1 / rain.depth, 1)
    blur = draw.uniform(*rain.blur)[image] * near
    group = (each.uniform(0, 1) * used[image]).long()
    spread = torch.deg2rad(draw.uniform(*rain.spread))[image]
    peak = draw.log_uniform(*rain.brightness)[image] * near
    sharp = sigma[image] * (rain.width_variation * each.normal()).exp() * near
    # A streak narrower than a pixel is as wide as the pixel and fainter by as much.
    seen = (sharp**2 + blur**2 + 0.3**2).sqrt()
    variation = rain.brightness_variation
    return _Streaks(
        image,
        (each.uniform(0, 1) * (width + 2 * reach_x[image])) - reach_x[image],
        (each.uniform(0, 1) * (height + 2 * reach_y[image])) - reach_y[image],
        directions[image, group] + spread * each.normal(),
        length[image] * (rain.length_variation * each.normal()).exp() * near,
        seen,
        peak * (variation * each.normal() - variation**2 / 2).exp() * sharp / seen,
        draw.uniform(*rain.taper)[image],
    )


def _mean_of_log_uniform(low: float) -> float:
    return 1.0 if low == 1 else (low - 1) / math.log(low)


def _splat(s: _Streaks, count: int, height: int, width: int) -> Tensor:
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
    # One entry a step: which streak, and where on it.
    streak = torch.arange(len(steps), device=steps.device).repeat_interleave(steps)
    start = steps.cumsum(0) - steps
    m = first[streak] + (torch.arange(len(streak), device=steps.device) - start[streak])
    n = across[streak] + (m - along[streak]) * slope[streak]
    t = (m - along[streak]).abs() / half[streak]  # 0 in the middle … 1 at the ends
    fade = ((1 - t) / (2 * s.taper[streak]).clamp(min=1e-3)).clamp(0, 1)
    value = s.peak[streak] * fade * fade * (3 - 2 * fade)
    # Gaussian across, at the whole pixels around n.
    inverse = (major.abs() / s.sigma)[streak]
    radius = int((3 * (s.sigma / major.abs()).amax().item()) + 1) if len(s.sigma) else 1
    taps = torch.arange(-radius, radius + 1, device=n.device)
    pixel = n.round().long()[:, None] + taps
    weight = torch.exp(-0.5 * ((pixel - n[:, None]) * inverse[:, None]).square())
    along_pixel, is_steep = m.long()[:, None], steep[streak][:, None]
    row = torch.where(is_steep, along_pixel, pixel)
    column = torch.where(is_steep, pixel, along_pixel)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    index = (s.image[streak][:, None] * height + row) * width + column
    layer = torch.zeros(count * height * width, device=n.device)
    layer.scatter_add_(0, index[inside], (value[:, None] * weight)[inside])
    return layer.view(count, 1, height, width)
