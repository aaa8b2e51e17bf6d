"""Any size in bounded memory: an image cut into tiles, each seen with a margin, the halo.

A network of convolutions sees no farther than its receptive radius. A tile that is given that many
pixels more on each side (fewer only where the image itself ends) comes out as if the network had
seen the whole image; the halo is then thrown away. Nothing is averaged: averaging keeps what is
wrong near the edge of a tile, and only thins it.
"""

from collections.abc import Callable
from math import ceil
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from raincleave.errors import ConfigError, ImageError
from raincleave.inference.memory import bytes_per_pixel, give_back, out_of_memory, usable_bytes

Network = Callable[[Tensor], Tensor]
"""(B, 3, H, W) → (B, 3, H, W), on any device; called with pieces of an image."""
_DEAREST = 4096
"""Bytes a pixel that no network here takes; what fits with these need not be measured."""
_SMALLEST = 16
"""Side of a tile in pixels under which no further cutting helps."""


class Reach(NamedTuple):
    """How far a network sees, and what that takes, as tiling must know it."""

    radius: int | None
    """Receptive radius in pixels: what lies farther away has no influence. None: unknown."""
    short: int | None = None
    """A halo measured to change no pixel by a quarter of an 8-bit level; None: not measured."""
    multiple: int = 1
    """Tiles start at multiples of this, the grid of the network's pooling."""
    pixel_bytes: Callable[[Network], int] = bytes_per_pixel
    """Tells the network's peak memory for each pixel; asked only where it may matter."""

    def halo(self, asked: Literal["exact"] | int | None) -> int | None:
        """The halo in pixels, a multiple of ``multiple``; None where the network cannot tell.

        Args:
            asked: ``"exact"``, the receptive radius; a number of pixels; None, the short halo, or
                the exact one where that is no longer.

        Raises:
            ConfigError: ``asked`` is none of these, or exact although the radius is unknown.

        Examples:
            >>> reach = Reach(radius=210, short=64)
            >>> reach.halo(None), reach.halo("exact"), reach.halo(100)
            (64, 210, 100)
        """
        if asked is None:
            known = [reach for reach in (self.radius, self.short) if reach is not None]
            pixels = min(known) if known else None
        elif asked == "exact":
            if self.radius is None:
                raise ConfigError(
                    "this network does not tell its receptive_radius; give halo as pixels."
                )
            pixels = self.radius
        elif isinstance(asked, int) and asked >= 0:
            pixels = asked
        else:
            raise ConfigError(f"halo is 'exact' or a number of pixels from 0 up, not {asked!r}.")
        return None if pixels is None else ceil(pixels / self.multiple) * self.multiple


class Box(NamedTuple):
    """A rectangle of pixels.

    Attributes:
        top: first row.
        bottom: first row below it.
        left: first column.
        right: first column right of it.

    Examples:
        >>> Box(0, 4, 0, 6).grown(2, height=5, width=20)
        Box(top=0, bottom=5, left=0, right=8)
    """

    top: int
    bottom: int
    left: int
    right: int

    @property
    def pixels(self) -> int:
        """How many pixels it holds."""
        return (self.bottom - self.top) * (self.right - self.left)

    def grown(self, halo: int, height: int, width: int) -> "Box":
        """With the halo around it, as far as the image goes."""
        return Box(
            max(0, self.top - halo),
            min(height, self.bottom + halo),
            max(0, self.left - halo),
            min(width, self.right + halo),
        )

    def halves(self, multiple: int) -> list["Box"]:
        """Cut across the longer side at a multiple of ``multiple``; itself where it is too small.

        A side that starts at a multiple of ``multiple`` is assumed.
        """
        height, width = self.bottom - self.top, self.right - self.left
        longer = max(height, width)
        middle = ceil(longer / 2 / multiple) * multiple
        if longer < 2 * _SMALLEST or middle >= longer:
            return [self]
        if height >= width:
            cut = self.top + middle
            return [self._replace(bottom=cut), self._replace(top=cut)]
        cut = self.left + middle
        return [self._replace(right=cut), self._replace(left=cut)]


def grid(height: int, width: int, tile_height: int, tile_width: int) -> list[Box]:
    """The image in tiles of that size, row by row; the last of a row or column may be smaller."""
    return [
        Box(top, min(top + tile_height, height), left, min(left + tile_width, width))
        for top in range(0, height, tile_height)
        for left in range(0, width, tile_width)
    ]


def largest_tiles(height: int, width: int, pixels: int, halo: int, multiple: int) -> list[Box]:
    """The grid that costs the least among those whose tiles, with their halo, hold ``pixels``.

    Where even the smallest sensible tile holds more, because the halo alone does, tiles as wide as
    the halo are taken: smaller ones would cost ever more work for little memory.

    Args:
        height: of the image.
        width: of the image.
        pixels: what a tile may hold, halo included.
        halo: in pixels.
        multiple: tiles start at multiples of this.
    """
    least = max(halo, _SMALLEST, multiple)
    best: tuple[int, int, int] | None = None
    for rows in range(1, ceil(height / least) + 1):
        tall = _share(height, rows, multiple)
        for columns in range(1, ceil(width / least) + 1):
            wide = _share(width, columns, multiple)
            if _seen(height, tall, halo) * _seen(width, wide, halo) <= pixels:
                work = _work(height, tall, halo) * _work(width, wide, halo)
                if best is None or work < best[0]:
                    best = (work, tall, wide)
                break  # narrower tiles only cost more
    if best is None:
        tall, wide = (_share(side, ceil(side / least), multiple) for side in (height, width))
        return grid(height, width, tall, wide)
    return grid(height, width, best[1], best[2])


def _share(side: int, count: int, multiple: int) -> int:
    return ceil(side / count / multiple) * multiple


def _seen(side: int, tile: int, halo: int) -> int:
    return min(side, tile + 2 * halo)


def _work(side: int, tile: int, halo: int) -> int:
    return sum(
        min(side, start + tile + halo) - max(0, start - halo) for start in range(0, side, tile)
    )


def tiled(
    network: Network,
    rainy: Tensor,
    reach: Reach,
    device: torch.device,
    *,
    tile: Literal["auto"] | int | None = "auto",
    halo: Literal["exact"] | int | None = None,
) -> Tensor:
    """Apply a network to images of any size, in tiles where memory asks for it.

    When memory runs out nevertheless, the tiles still to come are halved and the work goes on.

    Args:
        network: is given whole images or tiles of them.
        rainy: (B, 3, H, W), on any device, float32.
        reach: how far the network sees.
        device: where the network computes, whose memory counts.
        tile: ``"auto"`` cuts where the image does not fit; None never; a number is the side of a
            tile in pixels, without halo.
        halo: see `Reach.halo`.

    Returns:
        (B, 3, H, W), float32, on the device of ``rainy``.

    Raises:
        ConfigError: ``tile`` or ``halo`` makes no sense, or the network's reach is unknown.
        ImageError: memory runs out although nothing is left to halve.
    """
    clean = torch.empty_like(rainy)
    margin = reach.halo(halo)
    pixels = _affordable_pixels(network, rainy, reach, margin, device) if tile == "auto" else None
    together = len(rainy) if pixels is None else max(1, pixels // rainy[0, 0].numel())
    boxes = _boxes(rainy, reach.multiple, tile, margin, pixels)
    for images, results in zip(rainy.split(together), clean.split(together), strict=True):
        _fill(network, images, results, boxes=boxes, margin=margin, multiple=reach.multiple)
    return clean


def _affordable_pixels(
    network: Network, rainy: Tensor, reach: Reach, margin: int | None, device: torch.device
) -> int | None:
    """How many pixels go through the network at once; None for all there are."""
    usable, wanted = usable_bytes(device), rainy[:, 0].numel()
    if margin is None or wanted * _DEAREST <= usable:
        return None
    pixels = usable // reach.pixel_bytes(network)
    return None if pixels >= wanted else pixels


def _boxes(
    rainy: Tensor,
    multiple: int,
    tile: Literal["auto"] | int | None,
    margin: int | None,
    pixels: int | None,
) -> list[Box]:
    height, width = rainy.shape[-2:]
    if tile is None or (tile == "auto" and (pixels is None or height * width <= pixels)):
        return [Box(0, height, 0, width)]
    if margin is None:
        raise ConfigError("this network does not tell its receptive_radius; give halo as pixels.")
    if pixels is not None:
        return largest_tiles(height, width, pixels, margin, multiple)
    if not isinstance(tile, int) or tile < 1:
        raise ConfigError(f"tile is 'auto', None or a number of pixels from 1 up, not {tile!r}.")
    side = _share(tile, 1, multiple)
    return grid(height, width, side, side)


def _fill(
    network: Network,
    images: Tensor,
    clean: Tensor,
    *,
    boxes: list[Box],
    margin: int | None,
    multiple: int,
) -> None:
    """Compute the boxes of ``images`` one after the other into ``clean``."""
    height, width = images.shape[-2:]
    while boxes:
        box = boxes[0]
        seen = box.grown(margin or 0, height, width)
        try:
            result = network(images[..., seen.top : seen.bottom, seen.left : seen.right])
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            halved = [half for box in boxes for half in box.halves(multiple)]
            if margin is None or len(halved) == len(boxes):
                raise ImageError(
                    f"the image of {width}×{height} pixels does not fit into memory."
                ) from error
            boxes = halved
        else:
            inner = result[
                ...,
                box.top - seen.top : box.bottom - seen.top,
                box.left - seen.left : box.right - seen.left,
            ]
            clean[..., box.top : box.bottom, box.left : box.right] = inner
            boxes = boxes[1:]
            del result, inner
        if boxes:
            # Left between the pieces of one tile, memory would be too little for those of the next.
            give_back()
