"""Rain rendered on clean photographs: streaks, veil, and what a camera does to them.

The model of the papers' benchmarks is ``O = clip(B + R)`` with an achromatic layer ``R ≥ 0`` of
straight streaks.
"""

from dataclasses import fields, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from raincleave.data.rain import PRESETS, Rain
from raincleave.data.streaks import Draw, draw_streaks, splat
from raincleave.data.textures import RainTextures
from raincleave.errors import ConfigError

__all__ = ["PRESETS", "Rain", "RainRenderer", "RainTextures", "Rendered"]


class Rendered(NamedTuple):
    """A rainy batch and what was added to it."""

    rainy: Tensor
    """(B, 3, H, W), in [0, 1]."""
    rain: Tensor
    """(B, 1, H, W), the layer R ≥ 0 of the streaks, in image units, before clipping."""


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

    Examples:
        >>> renderer = RainRenderer("light", generator=torch.Generator().manual_seed(0))
        >>> rainy, rain = renderer(torch.full((2, 3, 64, 64), 0.4))
        >>> rainy.shape, rain.shape
        (torch.Size([2, 3, 64, 64]), torch.Size([2, 1, 64, 64]))
        >>> rainy.min()  # rain makes nothing darker
        tensor(0.4000)
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
        for name, rate in (("texture_rate", texture_rate), ("p", p)):
            if not 0 <= rate <= 1:
                raise ConfigError(f"{name} is a share from 0 to 1, not {rate!r}.")
        if texture_rate > 0 and textures is None:
            raise ConfigError(f"texture_rate={texture_rate} needs textures to draw from.")
        self.rain = PRESETS[preset] if isinstance(preset, str) else preset
        self.textures, self.texture_rate = textures, texture_rate
        self.p, self.same_on_batch, self.generator = p, same_on_batch, generator

    def with_(self, **changes: object) -> "RainRenderer":
        """The same renderer with some fields of its `Rain` changed.

        Raises:
            ConfigError: there is no such field, or a value makes no sense.

        Examples:
            >>> RainRenderer("heavy").with_(slant=(10, 10)).rain.slant
            (10, 10)
        """
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
        draw = Draw(1 if self.same_on_batch else clean.shape[0], generator)
        layer = self._layer(draw, clean.shape[-2], clean.shape[-1], clean.device)
        dry = draw.uniform(0, 1) >= self.p
        layer = layer.masked_fill(dry.to(clean.device).view(-1, 1, 1, 1), 0)
        rainy = self._blend(draw, clean, layer.to(clean.dtype))
        rainy = torch.where(dry.to(clean.device).view(-1, 1, 1, 1), clean, rainy)
        return Rendered(rainy, layer.expand(clean.shape[0], -1, -1, -1).to(clean.dtype))

    def _layer(self, draw: Draw, height: int, width: int, device: torch.device) -> Tensor:
        textured = draw.uniform(0, 1) < self.texture_rate
        layer = torch.zeros(draw.count, 1, height, width, device=device)
        if not textured.all():
            streaks, ceiling = draw_streaks(self.rain, draw, height, width, ~textured)
            layers = 1 if ceiling is None else ceiling.shape[1]
            layer = splat(streaks.to(device), draw.count * layers, height, width)
            if ceiling is not None:
                layer = layer.view(draw.count, layers, height, width)
                layer = layer.minimum(ceiling.to(device)[..., None, None]).sum(1, keepdim=True)
        if self.textures is not None and textured.any():
            genuine = self.textures.sample(int(textured.sum()), height, width, draw.generator)
            layer[textured.to(device)] = genuine.to(device)
        return layer

    def _blend(self, draw: Draw, clean: Tensor, layer: Tensor) -> Tensor:
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
            if rain.veil_at > 0:
                veil = veil * (layer.mean((1, 2, 3), keepdim=True) / rain.veil_at).clamp(max=1)
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
