"""Pictures from files and into files: decoded whole, written whole, metadata kept."""

import os
import re
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from raincleave.atomic import whole
from raincleave.errors import ImageError
from raincleave.formats import format_of, open_image

_MOST_DPI = 65536
_DEEP = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
"""Modes of more than 8 bits, which some of Pillow's writers clip to white or black."""
_JPEG_EXIF = 65533
"""Bytes of EXIF that a JPEG has room for."""
PICTURE_TAGS = [
    ExifTags.Base[name]
    for name in ("ImageDescription", "Make", "Model", "Software", "DateTime", "Artist", "Copyright")
]


def read(path: str | os.PathLike[str]) -> Image.Image:
    """Open an image file, decode it whole and turn it upright.

    Raises:
        ImageError: the file is missing, empty, truncated, too large or no image.
    """
    return decode(opened(path), str(path))


def opened(path: str | os.PathLike[str]) -> Image.Image:
    """Open an image file, its header alone.

    Raises:
        ImageError: the file is missing, empty, too large or no image.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder, not an image" if path.is_dir() else "does not exist"
        raise ImageError(f"{path} {what}; give the path of a picture.")
    if path.stat().st_size == 0:
        raise ImageError(f"{path} is empty (0 bytes); copy or download it again.")
    try:
        with warnings.catch_warnings():
            # Pillow warns at half the size it refuses; big photos are no mistake here.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return open_image(path)
    except Exception as error:  # Pillow's readers raise whatever they trip over.
        raise _unreadable(str(path), error) from error


def left_out(path: str | os.PathLike[str]) -> list[str]:
    """What of an image file is not in what `read` gives, in sentences.

    Raises:
        ImageError: as `read`.
    """
    sentences = []
    with opened(path) as image:
        # A phone's JPEG may hold a map of its light as a second picture.
        if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
            sentences.append("Of its frames, only the first is derained.")
            image.seek(0)
        stored = [str(tile) for tile in getattr(image, "tile", ())]
        if any(re.search(r"RGB\w*;16", tile) for tile in stored):
            sentences.append("Its 16-bit colours are read as 8 bits.")
    return sentences


def save(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a Pillow image whole or not at all, in the format that the suffix names.

    The EXIF tags and resolution of a JPEG, PNG, WebP, AVIF, HEIC or TIFF and every ICC profile are
    kept. What loses quality is written with little loss (quality 95, full colour resolution), TIFF
    with the lossless compression it was read with.

    Args:
        image: what `to_tensor`'s way back gave for a path or a Pillow image.
        path: where to write; its folder must exist. A file already there is replaced.

    Raises:
        ImageError: the suffix is unknown, the format cannot hold the image's mode, or the disk
            refuses.
    """
    path = Path(path)
    try:
        kind = format_of(path)
    except ImageError as error:
        raise ImageError(f"{path} cannot be written: {error}.") from error
    if kind not in Image.SAVE:
        raise ImageError(
            f"{path} cannot be written: {path.suffix or 'no suffix'} names no image format; "
            "use .png, .jpg, .webp or .tif."
        )
    if image.mode in _DEEP and kind in ("WEBP", "AVIF", "GIF"):
        raise ImageError(
            f"{path} cannot be written: {kind} holds 8 bits, the picture more (mode {image.mode}); "
            "another suffix, such as .tif, may do."
        )
    try:
        with whole(path) as part:
            image.save(part, format=kind, **_save_options(image, kind))
    except Exception as error:  # Pillow's writers raise whatever they trip over.
        other = ".tif" if image.mode in ("CMYK", *_DEEP) else ".png"
        hint = f"; another suffix, such as {other}, may do"
        hint = hint if "cannot write mode" in str(error) else ""
        raise ImageError(f"{path} cannot be written: {_reason(error)}{hint}.") from error


def _save_options(image: Image.Image, kind: str) -> dict[str, Any]:
    options = {}
    profile = image.info.get("icc_profile")
    # Pillow makes those RGB, of which a profile for other colours says nothing.
    if profile and not (kind in ("WEBP", "AVIF", "HEIF") and profile[16:20] in (b"CMYK", b"GRAY")):
        options["icc_profile"] = profile
    # Of a resolution that is none, no format can hold the number.
    dpi = image.info.get("dpi")
    if isinstance(dpi, tuple) and all(0 < value < _MOST_DPI for value in dpi):
        options["dpi"] = dpi
    exif = image.info.get("exif", b"")
    fits = kind != "JPEG" or len(exif) <= _JPEG_EXIF
    if kind in ("JPEG", "PNG", "WEBP", "AVIF", "HEIF", "TIFF") and exif and fits:
        options["exif"] = exif
    if kind in ("JPEG", "WEBP", "AVIF", "HEIF"):
        options["quality"] = 95
    if kind == "JPEG":
        options["subsampling"] = 0
    if kind in ("AVIF", "HEIF"):
        options["subsampling"] = "4:4:4"
    lossless = ("tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "zstd")
    if kind == "TIFF" and image.info.get("compression", "raw") not in lossless:
        options["compression"] = "raw"
    return options


def decode(image: Image.Image, name: str) -> Image.Image:
    """A copy of the image with all of its pixels read, the right way up, its ``format`` kept.

    EXIF tags that cannot be read are left out; they are no reason to refuse the picture.

    Args:
        image: as Pillow opened it or a user made it.
        name: what to call it in an error.

    Raises:
        ImageError: the file behind the image is truncated or damaged.
    """
    try:
        image.load()
    except Exception as error:
        raise _unreadable(name, error) from error
    try:
        Image.Exif().load(image.info.get("exif", b""))  # Pillow itself does not always look
        upright = ImageOps.exif_transpose(image)
        if image.format == "TIFF":
            upright.info["exif"] = _tiff_exif(image)
    except Exception:  # Pillow's readers raise whatever they trip over.
        upright = _upright(image)
        upright.info.pop("exif", None)
    upright.format = image.format
    return upright


def _upright(image: Image.Image) -> Image.Image:
    """The picture turned by its EXIF orientation, if at least that can be read."""
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    turned = image.copy()
    with suppress(Exception):
        turned = image.transpose(turns[image.getexif()[ExifTags.Base.Orientation]])
    turned.info = dict(image.info)
    return turned


def _tiff_exif(image: Image.Image) -> bytes:
    """The EXIF block of a TIFF, whose tags tell of the pixels' layout too: only the picture's."""
    tags = image.getexif()
    exif = Image.Exif()
    for tag in PICTURE_TAGS:
        if tag in tags:
            exif[tag] = tags[tag]
    for part in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if inner := tags.get_ifd(part):
            exif.get_ifd(part).update(inner)
    return exif.tobytes()


def _reason(error: Exception) -> str:
    # Some libraries end their messages with a line break.
    reason = " ".join(str(getattr(error, "strerror", None) or error).split())
    return reason.rstrip(". ") or type(error).__name__


def _unreadable(name: str, error: Exception) -> ImageError:
    if isinstance(error, ImageError):
        return ImageError(f"{name} cannot be read: {error}.")
    if isinstance(error, UnidentifiedImageError):
        return ImageError(f"{name} is not an image that Pillow can read.")
    if isinstance(error, Image.DecompressionBombError):
        return ImageError(
            f"{name} has more pixels than Pillow opens unasked; if you trust it, raise "
            "PIL.Image.MAX_IMAGE_PIXELS, or give `raincleave derain` a --max-megapixels."
        )
    if isinstance(error, OSError) and error.errno:
        return ImageError(f"{name} cannot be read: {_reason(error)}.")
    return ImageError(f"{name} cannot be read, it is truncated or damaged: {_reason(error)}.")
