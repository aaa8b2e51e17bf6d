"""Genuine rain layers, cut out of rainy pairs, as textures for `raincleave.data.synthesis`."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from raincleave.data.pictures import Picture, read_image
from raincleave.errors import DataError

_CELL = 8  # grid on which usable places are kept, in pixels


class RainTextures:
    """Rain layers R = O − B of genuine pairs, sampled as patches.

    R is unknown where O is saturated in every channel. Such pixels get what their surroundings
    suggest, and patches are taken only where they are rare.

    Args:
        pairs: (rainy, clean), each a file or a `Picture`, which may be half of one.
        scale: range of magnification, uniform.
        turn: largest turn in degrees, uniform to either side.
        warped: share of the patches that are scaled and turned; the others keep their pixels.
        second: probability that two layers are summed.
        max_masked: share of a patch that may be saturated.

    Raises:
        DataError: there are no pairs, or a pair's sizes differ.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[Picture | str | Path, Picture | str | Path]],
        *,
        scale: tuple[float, float] = (0.7, 1.4),
        turn: float = 5.0,
        warped: float = 0.5,
        second: float = 0.2,
        max_masked: float = 0.03,
    ) -> None:
        if not pairs:
            raise DataError("rain textures need at least one pair of a rainy and a clean image.")
        self.scale, self.turn, self.warped = scale, turn, warped
        self.second, self.max_masked = second, max_masked
        layers, masks = zip(
            *(_layer(_picture(rainy), _picture(clean)) for rainy, clean in pairs), strict=True
        )
        self.layers, self.masks = _stack(layers, 0.0), _stack(masks, 1.0)
        self._places: dict[int, tuple[Tensor, Tensor]] = {}

    def sample(
        self, count: int, height: int, width: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Patches of genuine rain.

        Args:
            count: number of patches.
            height: in pixels.
            width: in pixels.
            generator: source of randomness, on the CPU.

        Returns:
            (count, 1, height, width), R ≥ 0 in image units.
        """
        layer = self._patches(count, height, width, generator)
        twice = torch.rand(count, generator=generator) < self.second
        if twice.any():
            layer[twice] += self._patches(int(twice.sum()), height, width, generator)
        return layer

    def _patches(
        self, count: int, height: int, width: int, generator: torch.Generator | None
    ) -> Tensor:
        places, weight = self._usable(max(height, width))
        pick = places[torch.multinomial(weight, count, True, generator=generator)]
        low, high = self.scale
        warped = torch.rand(count, generator=generator) < self.warped
        zoom = low + (high - low) * torch.rand(count, generator=generator)
        angle = torch.deg2rad((2 * torch.rand(count, generator=generator) - 1) * self.turn)
        zoom, angle = zoom.where(warped, 1), angle.where(warped, 0)
        mirror = 1 - 2 * torch.randint(2, (count,), generator=generator)
        # Output pixels, centred, turned and scaled into the texture's pixels.
        y = torch.arange(height) - (height - 1) / 2
        x = torch.arange(width) - (width - 1) / 2
        sine, cosine = (angle.sin() / zoom).view(-1, 1, 1), (angle.cos() / zoom).view(-1, 1, 1)
        row = pick[:, 1].view(-1, 1, 1) + cosine * y[:, None] + sine * x
        column = pick[:, 2].view(-1, 1, 1) + mirror.view(-1, 1, 1) * (
            cosine * x - sine * y[:, None]
        )
        h, w = self.layers.shape[-2:]
        grid = torch.stack((2 * column / (w - 1) - 1, 2 * row / (h - 1) - 1), -1)
        return torch.cat(
            [
                F.grid_sample(
                    self.layers[i : i + 1], g[None], padding_mode="reflection", align_corners=True
                )
                for i, g in zip(pick[:, 0].long().tolist(), grid, strict=True)
            ]
        )

    def _usable(self, size: int) -> tuple[Tensor, Tensor]:
        """(N, 3): texture, row and column of every centre around which a patch is clear enough.

        And (N,), the weights that give every texture the same chance.
        """
        size = min(size, *self.masks.shape[-2:])
        if size not in self._places:
            share = F.avg_pool2d(self.masks, size, _CELL)
            best = share.amin((1, 2, 3), keepdim=True)
            # A texture too small or too saturated for the size gives its clearest place, if any.
            clear = share <= best.clamp(min=self.max_masked)
            clear &= (share <= 10 * self.max_masked) | (best == best.amin())
            places = clear[:, 0].nonzero().float()
            places[:, 1:] = places[:, 1:] * _CELL + (size - 1) / 2  # halves keep pixels on pixels
            texture = places[:, 0].long()
            weight = 1 / texture.bincount(minlength=len(self.layers))[texture].float()
            self._places[size] = places, weight
        return self._places[size]


def _picture(image: Picture | str | Path) -> Picture:
    return image if isinstance(image, Picture) else Picture(Path(image))


def _layer(rainy: Picture, clean: Picture) -> tuple[Tensor, Tensor]:
    """R (H, W) in image units and its mask (H, W), 1 where R is not known."""
    o, b = read_image(rainy).float(), read_image(clean).float()
    if o.shape != b.shape:
        raise DataError(f"{rainy.path} and {clean.path} differ in size.")
    known = torch.where(o >= 255, torch.inf, o - b).amin(0).clamp(min=0)
    mask = known.isinf()
    layer, at_least, unknown = known.where(~mask, 0) / 255, (255 - b).amax(0) / 255, mask.float()
    # Streaks are long and upright: the mean of what is known nearby, mostly above and below.
    window = (41, 5)
    total = _mean(layer, window)
    weight = _mean(1 - unknown, window)
    guess = torch.maximum(total / weight.clamp(min=1e-3), at_least)
    return torch.where(unknown > 0, guess, layer), unknown


def _mean(x: Tensor, window: tuple[int, int]) -> Tensor:
    pad = (window[0] // 2, window[1] // 2)
    return F.avg_pool2d(x[None, None], window, 1, pad, count_include_pad=False)[0, 0]


def _stack(images: Sequence[Tensor], fill: float) -> Tensor:
    """(N, 1, H, W) of the largest height and width, smaller images filled up."""
    height = max(image.shape[0] for image in images)
    width = max(image.shape[1] for image in images)
    return torch.stack(
        [
            F.pad(image, (0, width - image.shape[1], 0, height - image.shape[0]), value=fill)
            for image in images
        ]
    )[:, None]
