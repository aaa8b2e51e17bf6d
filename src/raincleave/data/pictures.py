"""Pictures of a dataset on disk, whole or one half of them: found, measured, read as uint8 RGB."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from raincleave.atomic import whole
from raincleave.errors import DataError
from raincleave.formats import SUFFIXES, open_image

Half: TypeAlias = Literal["whole", "left", "right"]


class Picture(NamedTuple):
    """An image, or one half of a side-by-side image, on disk."""

    path: Path
    half: Half = "whole"


def image_files(folder: Path) -> list[Path]:
    """The image files directly in ``folder``, sorted; hidden files are left out."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def image_files_of(folder: Path, what: str = "images") -> list[Path]:
    """`image_files` of a folder that must have some.

    Args:
        folder: as a user gave it.
        what: what the folder should hold, for the error.

    Raises:
        DataError: there is no such folder, or it holds no images.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}; give one that holds {what}.")
    images = image_files(folder)
    if not images:
        raise DataError(f"{folder} holds no images; give a folder of PNG or JPEG files.")
    return images


def _half_box(width: int, height: int, half: Half) -> tuple[int, int, int, int]:
    middle = width // 2
    left, right = {"whole": (0, width), "left": (0, middle), "right": (width - middle, width)}[half]
    return left, 0, right, height


def read_size(picture: Picture) -> tuple[int, int]:
    """Height and width in pixels, from the file's header alone.

    Raises:
        DataError: the file is missing or no image.
    """
    try:
        with open_image(picture.path) as image:
            width, height = image.size
            if image.getexif().get(0x0112, 1) >= 5:  # EXIF orientations 5 to 8 lie on their side
                width, height = height, width
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{picture.path} cannot be read as an image ({error}).") from error
    left, _, right, _ = _half_box(width, height, picture.half)
    return height, right - left


def read_image(picture: Picture) -> Tensor:
    """Read an image as RGB, upright.

    Returns:
        (3, H, W), uint8.

    Raises:
        DataError: the file is missing, truncated or no image.
    """
    try:
        with open_image(picture.path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):  # PIL clips 16-bit grey to 255 instead of scaling it
                image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
            image = image.convert("RGB")
            if picture.half != "whole":
                image = image.crop(_half_box(*image.size, picture.half))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{picture.path} cannot be read as an image ({error}).") from error
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def parallel(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """``[function(item) for item in items]`` on threads: decoding releases the interpreter lock."""
    with ThreadPoolExecutor(max_workers=min(8, cpu_count() or 1)) as pool:
        return list(pool.map(function, items))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all.

    Raises:
        DataError: the folder is missing or cannot be written to.
    """
    try:
        with whole(path) as part:
            part.write_bytes(content)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error}).") from error
