"""A network applied to an image: in tiles, turned, stopped early, as is asked for."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from raincleave.errors import ConfigError
from raincleave.inference.tiling import Network, Reach, tiled

SETTLED = 1 / 255
"""``stages="auto"`` stops when a stage changes an image by less, root mean square."""
_MIDDLE = 192
_VIEWS: dict[int, list[tuple[int, ...]]] = {1: [()], 2: [(), (3,)], 4: [(), (3,), (2,), (2, 3)]}
"""The dimensions mirrored in each view. No quarter turns: they lay the rain on its side, where
networks that know how rain falls leave it; averaged in, they cost 3 to 6 dB on Rain100H and L."""


def apply(
    network: Network,
    rainy: Tensor,
    reach: Reach,
    device: torch.device,
    *,
    tile: Literal["auto"] | int | None = "auto",
    halo: Literal["exact"] | int | None = None,
    ensemble: int = 1,
) -> Tensor:
    """Derain an image of any size.

    Args:
        network: (B, 3, H, W) → (B, 3, H, W).
        rainy: (B, 3, H, W), float32.
        reach: how far the network sees.
        device: where it computes.
        tile: see `tiled`.
        halo: see `tiled`.
        ensemble: 2 averages over the image and its mirror image, 4 also over both upside down.

    Returns:
        (B, 3, H, W), float32, on the device of ``rainy``.

    Raises:
        ConfigError: an option makes no sense.
        ImageError: memory runs out.
    """
    if ensemble not in _VIEWS:
        raise ConfigError(f"ensemble is 1, 2 or 4, not {ensemble!r}.")
    if ensemble == 1:
        return tiled(network, rainy, reach, device, tile=tile, halo=halo)
    total = torch.zeros_like(rainy)
    for mirrored in _VIEWS[ensemble]:
        seen = rainy.flip(mirrored)
        total += tiled(network, seen, reach, device, tile=tile, halo=halo).flip(mirrored)
    return total / ensemble


def middle(rainy: Tensor, side: int | None = _MIDDLE) -> Tensor:
    """The middle of an image, at most 192×192 pixels: what `settle` judges by.

    Args:
        rainy: (B, 3, H, W).
        side: other than 192; None for the whole image.
    """
    height, width = rainy.shape[-2:]
    side = side or max(height, width)
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    return rainy[..., top : top + side, left : left + side]


def settle(backgrounds: Iterable[Tensor]) -> int:
    """After how many stages no image changes any more, by `SETTLED`; all, if one goes on changing.

    Args:
        backgrounds: of the stages, one after the other, each (B, 3, H, W); drained no farther than
            needed.

    Examples:
        >>> settle(torch.full((1, 3, 4, 4), level) for level in (0.9, 0.5, 0.4, 0.4, 0.4))
        4
    """
    before, done = None, 0
    for background in backgrounds:
        done += 1
        if before is not None:
            changes = (background - before).square().mean((1, 2, 3)).sqrt()
            if changes.max() < SETTLED:
                break
        before = background
    return done
