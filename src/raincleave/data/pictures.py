"""Pictures of a dataset on disk, whole or one half of them: found, measured, read as uint8 RGB."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor

from raincleave.atomic import whole
from raincleave.errors import DataError, ImageError
from raincleave.formats import SUFFIXES
from raincleave.inference import files
from raincleave.inference.images import to_tensor

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


def _columns(width: int, half: Half) -> tuple[int, int]:
    middle = width // 2
    return {"whole": (0, width), "left": (0, middle), "right": (width - middle, width)}[half]


def read_size(picture: Picture) -> tuple[int, int]:
    """Height and width in pixels, from the file's header alone.

    Raises:
        DataError: the file is missing or no image.
    """
    try:
        with files.opened(picture.path) as image:
            width, height = image.size
            # Of a TIFF, Pillow gives the upright size by itself.
            if image.format != "TIFF" and _is_sideways(image, picture.path):
                width, height = height, width
    except ImageError as error:
        raise DataError(str(error)) from error
    left, right = _columns(width, picture.half)
    return height, right - left


def _is_sideways(image: Image.Image, path: Path) -> bool:
    if image.format == "PNG" and "exif" not in image.info and not _has_late_exif(path):
        return False  # asked for its tags, Pillow would decode the whole of it
    try:
        return image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    except Exception:  # tags that cannot be read are left out, as in reading
        return False


def _has_late_exif(path: Path) -> bool:
    """Whether a PNG has its EXIF tags behind the pixels, where they may be."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            if head[4:] == b"eXIf":
                return True
            file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    return False


def read_image(picture: Picture) -> Tensor:
    """Read an image as RGB, upright; deeper ones than 8 bits are rounded.

    Returns:
        (3, H, W), uint8.

    Raises:
        DataError: the file is missing, truncated or no image.
    """
    try:
        image = files.read(picture.path)
        if image.mode.startswith("I") or image.mode == "F":  # Pillow would clip, not scale them
            rgb = to_tensor(picture.path)[0][0].mul(255).round().byte()
            image = Image.fromarray(rgb.permute(1, 2, 0).numpy())
    except ImageError as error:
        raise DataError(str(error)) from error
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    return half_of(pixels, picture.half)


def half_of(pixels: Tensor, half: Half) -> Tensor:
    """One half of a side-by-side image, (3, H, W) → (3, H, W // 2), or the whole; a copy."""
    left, right = _columns(pixels.shape[2], half)
    return pixels[..., left:right].clone(memory_format=torch.contiguous_format)


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
