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
        found = [_layer(_picture(rainy), _picture(clean)) for rainy, clean in pairs]
        self.layers = [layer[None, None] for layer, _ in found]
        self.masks = [mask[None, None] for _, mask in found]
        self._places: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

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
        places, weight = self._usable(height, width)
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
        patches = []
        for texture, y, x in zip(pick[:, 0].long().tolist(), row, column, strict=True):
            layer = self.layers[texture]
            h, w = layer.shape[-2:]
            grid = torch.stack((2 * x / (w - 1) - 1, 2 * y / (h - 1) - 1), -1)
            # Beyond the texture's border, which a large image meets, it goes on mirrored.
            patches.append(
                F.grid_sample(layer, grid[None], padding_mode="reflection", align_corners=True)
            )
        return torch.cat(patches)

    def _usable(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """(N, 3): texture, row and column of every centre around which a patch is clear enough.

        And (N,), the weights that give every texture the same chance.
        """
        if (height, width) not in self._places:
            sizes = [(min(height, m.shape[2]), min(width, m.shape[3])) for m in self.masks]
            shares = [
                F.avg_pool2d(mask, size, _CELL)[0, 0]
                for mask, size in zip(self.masks, sizes, strict=True)
            ]
            clearest = min(share.min() for share in shares)
            found, weights = [], []
            for texture, (share, size) in enumerate(zip(shares, sizes, strict=True)):
                best = share.min()
                # One too small or too saturated for the size gives its clearest place, if any.
                clear = share <= best.clamp(min=self.max_masked)
                clear &= (share <= 10 * self.max_masked) | (best == clearest)
                centres = clear.nonzero() * _CELL + (torch.tensor(size) - 1) / 2
                # Where an image is larger by an odd number: else between pixels, which blurs.
                centres += (torch.tensor((height, width)) - torch.tensor(size)) % 2 / 2
                found.append(F.pad(centres, (1, 0), value=texture))
                weights.append(torch.full((len(centres),), 1 / max(1, len(centres))))
            self._places[height, width] = torch.cat(found), torch.cat(weights)
        return self._places[height, width]


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
