"""Which files are pictures, and how Pillow learns of HEIC, which it does not know by itself."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from raincleave.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jfif", ".webp", ".avif", ".heic", ".heif", ".hif", ".tif", ".tiff",
    ".bmp", ".gif", ".ppm", ".pgm",
)  # fmt: skip
"""What folders and globs are searched for; a file named by itself may have any suffix."""
_HEIC = (".heic", ".heif", ".hif")
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"}


def open_image(path: str | os.PathLike[str]) -> "Image.Image":
    """``PIL.Image.open``, and HEIC, what phones save their photographs as.

    Raises:
        ImageError: it is HEIC, and pillow-heif is not installed.
        Exception: whatever Pillow's readers trip over.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(path)
    except UnidentifiedImageError:
        if not _is_heic(path):
            raise
    _register_heic()
    return Image.open(path)


def format_of(path: Path) -> str:
    """Pillow's name of the format that a file's suffix stands for, or ``""``.

    Raises:
        ImageError: it is HEIC, and pillow-heif is not installed.
    """
    from PIL import Image

    if path.suffix.lower() in _HEIC:
        _register_heic()
    return Image.registered_extensions().get(path.suffix.lower(), "")


def can_write(path: Path) -> bool:
    """Whether a file's suffix names a format that Pillow writes.

    Raises:
        ImageError: it is HEIC, and pillow-heif is not installed.
    """
    from PIL import Image

    return format_of(path) in Image.SAVE


def _is_heic(path: str | os.PathLike[str]) -> bool:
    """By its content, not the suffix: phones' pictures are often renamed to .jpg."""
    with Path(path).open("rb") as file:
        size, kind = int.from_bytes(file.read(4), "big"), file.read(4)
        brands = file.read(max(8, min(size, 256)) - 8) if kind == b"ftyp" else b""
    return not _HEIC_BRANDS.isdisjoint(brands[i : i + 4] for i in range(0, len(brands), 4))


def _register_heic() -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageError(
            "HEIC needs pillow-heif, which is not installed; pip install 'raincleave[heic]' "
            "brings it"
        ) from error
    pillow_heif.register_heif_opener()
