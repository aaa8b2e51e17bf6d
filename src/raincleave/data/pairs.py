"""Datasets of clean images and of rainy-clean pairs: cached, cropped, turned, scaled to [0, 1].

Every random choice of an item follows from ``(seed, epoch, index)`` alone, so that the number of
workers, the order of reading and a resumed run change nothing. `EpochSampler` hands the epoch over.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from raincleave.data.pictures import (
    Picture,
    half_of,
    image_files,
    parallel,
    read_image,
    read_size,
)
from raincleave.errors import DataError

__all__ = [
    "CleanImages",
    "EpochSampler",
    "ImagePatches",
    "Pair",
    "Picture",
    "RainPairs",
    "RainyImages",
    "image_files",
]

Key: TypeAlias = int | tuple[int, int]


def seeded(seed: int, what: object) -> torch.Generator:
    """All chance that one picture or batch meets: by a seed and its own name or number alone.

    PyTorch takes no more than 32 bits of a seed, so both are mixed.
    """
    return torch.Generator().manual_seed(int.from_bytes(mixed(seed, what)[:8], "big") >> 1)


def mixed(seed: int, what: object) -> bytes:
    """A hash of a seed and a name, which may be that of a file that is no UTF-8, or a number."""
    return hashlib.sha256(f"{seed}/{what}".encode(errors="surrogateescape")).digest()


class Pair(NamedTuple):
    """A rainy image and its clean partner.

    Attributes:
        name: unique within the dataset; the name of derained files.
        rainy: the rainy image.
        clean: the ground truth.
        scene: pairs that show the same scene share it; a split never divides a scene.
    """

    name: str
    rainy: Picture
    clean: Picture
    scene: str


def read_pair(pair: Pair) -> dict[str, Tensor]:
    """Read both images of a pair.

    Returns:
        ``rainy`` and ``clean``, (3, H, W), uint8.

    Raises:
        DataError: a file cannot be read, or the sizes differ.
    """
    if pair.rainy.path == pair.clean.path:  # the halves of one: decoded once
        whole = read_image(Picture(pair.rainy.path))
        rainy, clean = half_of(whole, pair.rainy.half), half_of(whole, pair.clean.half)
    else:
        rainy, clean = read_image(pair.rainy), read_image(pair.clean)
    _check_sizes(pair, tuple(rainy.shape[1:]), tuple(clean.shape[1:]))
    return {"rainy": rainy, "clean": clean}


def read_pair_size(pair: Pair) -> tuple[int, int]:
    """Height and width of a pair, from the headers alone; raises as `read_pair` does."""
    size = read_size(pair.clean)
    _check_sizes(pair, read_size(pair.rainy), size)
    return size


def _check_sizes(pair: Pair, rainy: tuple[int, ...], clean: tuple[int, ...]) -> None:
    if rainy != clean:
        raise DataError(
            f"{pair.rainy.path} is {rainy[1]}x{rainy[0]} pixels but its clean partner "
            f"{pair.clean.path} is {clean[1]}x{clean[0]}; crop one or leave the pair out."
        )


class Window(NamedTuple):
    """Where a patch is cut and how it is turned; the same for both images of a pair.

    Attributes:
        top: first row, in pixels.
        left: first column.
        size: side of the square.
        flip: mirrored, left to right.
        turns: by quarters, counterclockwise, after mirroring.

    Examples:
        >>> image = torch.arange(16).view(1, 4, 4)
        >>> Window(top=1, left=0, size=2, flip=True).cut(image)
        tensor([[[5, 4],
                 [9, 8]]])
    """

    top: int
    left: int
    size: int
    flip: bool = False
    turns: int = 0

    def cut(self, image: Tensor) -> Tensor:
        """The patch of ``image``, (C, H, W) -> (C, size, size), mirrored, then turned."""
        rows = slice(self.top, self.top + self.size)
        patch = image[:, rows, self.left : self.left + self.size]
        if self.flip:
            patch = patch.flip(-1)
        return torch.rot90(patch, self.turns, (1, 2)) if self.turns else patch


class ImagePatches(Dataset[dict[str, Any]]):
    """What `CleanImages` and `RainPairs` share: caching, cutting and scaling.

    Three ways to cut: whole images (no ``patch_size``); random crops (``patch_size``); every patch
    of a fixed grid (``patch_size`` and ``stride``), as the papers cut theirs, borders dropped.
    An item is indexed by its number, or by ``(epoch, number)`` for other crops in other epochs.

    Args:
        patch_size: side of the square patches in pixels; whole images if None.
        stride: step of the grid in pixels; random crops if None.
        patches_per_epoch: length of the dataset when crops are random; by default one per image.
        augment: mirror and turn patches at random, clean ones by quarters, rainy ones by halves,
            since rain falls from above; whole images stay as they are.
        cache: keep all images in RAM as uint8, 3 bytes a pixel; None keeps up to 2 GiB.
        seed: of crops, flips and turns.

    Raises:
        DataError: an image is smaller than the patch.
    """

    CACHE_LIMIT = 2 * 1024**3

    def __init__(
        self,
        *,
        patch_size: int | None = None,
        stride: int | None = None,
        patches_per_epoch: int | None = None,
        augment: bool = False,
        cache: bool | None = False,
        seed: int = 0,
    ) -> None:
        self.patch_size, self.augment, self.seed = patch_size, augment, seed
        count = self.image_count
        self.patches_per_epoch = patches_per_epoch or count
        self._cached: list[dict[str, Tensor]] | None = None
        self._grid: list[tuple[int, Window]] | None = None
        if patch_size is not None or cache is None:
            sizes = parallel(self._size, range(count))
            if patch_size is not None:
                self._check_patch(sizes, patch_size)
            if patch_size is not None and stride is not None:
                self._grid = self._lay_grid(sizes, patch_size, stride)
            if cache is None:
                cache = self._images_an_item * 3 * sum(h * w for h, w in sizes) <= self.CACHE_LIMIT
        if cache:  # before workers are forked, so that all of them share one copy
            self._cached = parallel(self._read, range(count))

    _images_an_item = 1
    _turn = 1
    """The least turn of a patch, in quarters."""

    @property
    def image_count(self) -> int:
        """How many images or pairs there are to cut patches from."""
        raise NotImplementedError

    def _size(self, number: int) -> tuple[int, int]:
        raise NotImplementedError

    def _read(self, number: int) -> dict[str, Tensor]:
        raise NotImplementedError

    def _name(self, number: int) -> str:
        raise NotImplementedError

    def _check_patch(self, sizes: Sequence[tuple[int, int]], patch_size: int) -> None:
        if patch_size < 1:
            raise DataError(f"patch_size is {patch_size}; it must be at least 1 pixel.")
        number = min(range(len(sizes)), key=lambda i: min(sizes[i]))
        height, width = sizes[number]
        if min(height, width) < patch_size:
            raise DataError(
                f"patch_size is {patch_size}, but the image {self._name(number)} is only "
                f"{width}x{height} pixels; choose a smaller patch or leave the image out."
            )

    @staticmethod
    def _lay_grid(
        sizes: Sequence[tuple[int, int]], patch: int, stride: int
    ) -> list[tuple[int, Window]]:
        if stride < 1:
            raise DataError(f"stride is {stride}; it must be at least 1 pixel.")
        return [
            (number, Window(top, left, patch))
            for number, (height, width) in enumerate(sizes)
            for top in range(0, height - patch + 1, stride)
            for left in range(0, width - patch + 1, stride)
        ]

    def __len__(self) -> int:
        if self.patch_size is None:
            return self.image_count
        return self.patches_per_epoch if self._grid is None else len(self._grid)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if not 0 <= index < len(self):
            raise IndexError(index)
        serial = epoch * len(self) + index
        rng = random.Random(f"{self.seed}/{serial}")
        number, window = index, None
        if self._grid is not None:
            number, window = self._grid[index]
        elif self.patch_size is not None:
            number = serial % self.image_count
        images = self._cached[number] if self._cached is not None else self._read(number)
        if self.patch_size is not None:
            window = self._turned(rng, window or self._random_window(rng, images))
            images = {role: window.cut(image) for role, image in images.items()}
        scaled = {role: image.float().div_(255) for role, image in images.items()}
        return {**scaled, "name": self._name(number), "serial": serial}

    def _random_window(self, rng: random.Random, images: dict[str, Tensor]) -> Window:
        height, width = next(iter(images.values())).shape[1:]
        size = self.patch_size or min(height, width)
        return Window(rng.randint(0, height - size), rng.randint(0, width - size), size)

    def _turned(self, rng: random.Random, window: Window) -> Window:
        if not self.augment:
            return window
        flip, turns = rng.random() < 0.5, rng.randrange(0, 4, self._turn)
        return window._replace(flip=flip, turns=turns)


def short_names(files: Sequence[Path]) -> list[str]:
    """A name for each file that no other has: its stem, or as much of its path as that takes.

    Examples:
        >>> short_names([Path("a/x.png"), Path("a/x.jpg"), Path("a/y.png"), Path("b/x.png")])
        ['a_x.png', 'x.jpg', 'y', 'b_x.png']
    """
    lengths = [0] * len(files)
    while True:
        names = [
            "_".join(file.parts[-length:]).replace(file.anchor or "/", "") if length else file.stem
            for file, length in zip(files, lengths, strict=True)
        ]
        counts = Counter(names)
        longer = [
            i
            for i, name in enumerate(names)
            if counts[name] > 1 and lengths[i] < len(files[i].parts)
        ]
        if not longer:
            return names
        for i in longer:
            lengths[i] += 1


class CleanImages(ImagePatches):
    """Clean photos, to be rained on by the renderer.

    An item is ``{"clean": (3, H, W) float32 in [0, 1], "name": str, "serial": int}``; ``serial``
    tells items of different epochs apart, and seeds their rain.

    Args:
        images: the image files, see `image_files`.
        **options: `ImagePatches`' arguments.
    """

    role = "clean"

    def __init__(self, images: Sequence[Path], **options: Any) -> None:
        self.images = list(images)
        self._names = short_names(self.images)
        super().__init__(**options)

    @property
    def image_count(self) -> int:
        """The photos."""
        return len(self.images)

    def _size(self, number: int) -> tuple[int, int]:
        return read_size(Picture(self.images[number]))

    def _read(self, number: int) -> dict[str, Tensor]:
        return {self.role: read_image(Picture(self.images[number]))}

    def _name(self, number: int) -> str:
        return self._names[number]


class RainyImages(CleanImages):
    """Rainy photos without ground truth, to be derained: `CleanImages` with the key ``rainy``."""

    role = "rainy"


class RainPairs(ImagePatches):
    """Rainy-clean pairs, read when asked for.

    An item is ``{"rainy": (3, H, W), "clean": (3, H, W), "name": str, "serial": int}``, float32 in
    [0, 1]; both images are cut, mirrored and turned alike.

    Args:
        pairs: see `raincleave.data.layouts.find_pairs`.
        **options: `ImagePatches`' arguments.
    """

    _images_an_item = 2
    _turn = 2

    def __init__(self, pairs: Sequence[Pair], **options: Any) -> None:
        self.pairs = list(pairs)
        super().__init__(**options)

    @property
    def image_count(self) -> int:
        """The pairs."""
        return len(self.pairs)

    def _size(self, number: int) -> tuple[int, int]:
        return read_pair_size(self.pairs[number])

    def _read(self, number: int) -> dict[str, Tensor]:
        return read_pair(self.pairs[number])

    def _name(self, number: int) -> str:
        return self.pairs[number].name


class EpochSampler(DistributedSampler[Any]):
    """Shuffles by ``(seed, epoch)`` and hands out ``(epoch, index)`` keys, each rank its share.

    Lightning calls ``set_epoch`` before each epoch and leaves a `DistributedSampler` in place.

    Attributes:
        done: asked at the start of an epoch how many of its items this rank has had already.
    """

    done: Callable[[], int] | None = None

    def __iter__(self) -> Iterator[Any]:
        for index in islice(super().__iter__(), self.done() if self.done else 0, None):
            yield self.epoch, index
