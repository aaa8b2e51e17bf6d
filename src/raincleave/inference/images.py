"""Any image in, the same kind out: paths, Pillow images, arrays and tensors to (B, 3, H, W).

`to_tensor` gives the network its float32 RGB and, with it, the way back::

    rainy, restore = to_tensor(image)
    clean = restore(model(rainy))  # image's own kind, size, depth, device

Everything ends in one place, a stack of planes (B, C, H, W) whose C says what they are: 1 grey,
2 grey and alpha, 3 RGB, 4 RGB and alpha. Grey is repeated three times on the way in; on the way out
the three are averaged, being three estimates of the same grey. Alpha never meets the network and
comes back bit for bit.

What Pillow cannot do: it reads the 16-bit *colour* of PNG and TIFF as 8 bits. For those, read
the file with another library and pass the uint16 array.
"""

import os
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor

from raincleave.errors import ImageError
from raincleave.inference.files import decode, read

Image: TypeAlias = str | os.PathLike[str] | PIL.Image.Image | NDArray[Any] | Tensor
Kind = TypeVar("Kind", PIL.Image.Image, NDArray[Any], Tensor)
"""What comes out as it went in."""
Restore: TypeAlias = Callable[[Tensor], Any]

PEAKS = {torch.uint8: 255, torch.uint16: 65535}
_ROWS = 256
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def to_tensor(image: Image) -> tuple[Tensor, Restore]:
    """Turn any image into what a derainer eats, and give the way back.

    Args:
        image: one of

            - a path: read with Pillow, and treated as a Pillow image from there on;
            - a Pillow image of mode 1, L, LA, P, PA, RGB, RGBA, RGBX, CMYK, YCbCr, HSV, I;16 (any
              byte order), I (holding 0..65535) or F (holding 0..1). The EXIF orientation is applied
              and its tag removed; the other EXIF tags, the ICC profile and ``format`` are kept.
              Of several frames, the one the image stands at (for a path, the first) is taken;
            - an array (H, W) or (H, W, C), uint8, uint16, or float in [0, 1];
            - a tensor (C, H, W) or (B, C, H, W), uint8, uint16, or float in [0, 1], on any device.

            C is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha).

    Returns:
        The tensor (B, 3, H, W), float32 in [0, 1], contiguous, on the image's own device (it may
        share its memory), and a function that turns a derained (B, 3, H, W) float tensor on any
        device into the image's own kind, size, depth, range and device, clamped, and rounded where
        that is integer. A picture with a palette comes back as RGB or RGBA, since its palette lacks
        the derained colours; mode 1 comes back as mode 1, cut at one half; CMYK keeps its black
        plate. L and RGB with a transparent colour come back as LA and RGBA.

    Raises:
        ImageError: the image cannot be read, has no pixels, or has a shape, type or range that is
            not in the list above.

    Examples:
        >>> grey = np.full((8, 12), 51, np.uint8)
        >>> rainy, restore = to_tensor(grey)
        >>> rainy.shape, rainy.max()
        (torch.Size([1, 3, 8, 12]), tensor(0.2000))
        >>> restored = restore(rainy)
        >>> restored.shape, restored.dtype, int(restored.max())
        ((8, 12), dtype('uint8'), 51)
    """
    if isinstance(image, Tensor):
        return _from_tensor(image)
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if isinstance(image, PIL.Image.Image):
        name = str(getattr(image, "filename", "") or "the image")
        return _from_pillow(decode(image, name), name)
    if isinstance(image, str | os.PathLike):
        return _from_pillow(read(image), str(image))
    raise ImageError(
        f"an image is a path, a Pillow image, an array or a tensor, not {type(image).__name__}."
    )


# Tensors and arrays: planes in, planes out.


def _from_tensor(image: Tensor) -> tuple[Tensor, Restore]:
    if image.ndim not in (3, 4):
        raise ImageError(
            f"a tensor image is (C, H, W) or (B, C, H, W), not {tuple(image.shape)}; "
            "add or remove a dimension."
        )
    planes = (image if image.ndim == 4 else image[None]).detach()
    if planes.shape[1] not in (1, 2, 3, 4):
        raise ImageError(
            f"a tensor image (C, H, W) or (B, C, H, W) has 1 to 4 channels, not {planes.shape[1]} "
            f"as {tuple(image.shape)} says; permute it if its channels come last."
        )
    rgb = _planes_to_rgb(planes, "the tensor")

    def restore(derained: Tensor) -> Tensor:
        return _rgb_to_planes(derained, planes).reshape(image.shape)

    return rgb, restore


def _from_array(image: NDArray[Any], name: str = "the array") -> tuple[Tensor, Restore]:
    channels_last = image.ndim == 3 and image.shape[2] in (1, 2, 3, 4)
    if image.ndim != 2 and not channels_last:
        first = image.ndim == 3 and image.shape[0] in (1, 2, 3, 4)
        hint = (
            "np.moveaxis(array, 0, -1) or torch.from_numpy(array) makes it one of ours"
            if first
            else "pass one picture at a time, or a (B, C, H, W) tensor"
        )
        raise ImageError(
            "an array image is (H, W) or (H, W, C) with 1 to 4 channels, "
            f"not {image.shape}; {hint}."
        )
    if image.dtype.newbyteorder("=").type not in (
        np.uint8, np.uint16, np.float16, np.float32, np.float64,
    ):  # fmt: skip
        raise _wrong_type(name, image.dtype)
    # A copy: torch knows neither foreign byte order nor negative strides nor read-only memory.
    native = np.array(image, dtype=image.dtype.newbyteorder("="), order="C")
    planes = torch.from_numpy(native if channels_last else native[..., None]).permute(2, 0, 1)[None]
    rgb = _planes_to_rgb(planes, name)

    def restore(derained: Tensor) -> NDArray[Any]:
        pixels = _rgb_to_planes(derained, planes)[0].permute(1, 2, 0).contiguous().numpy()
        return pixels.reshape(image.shape).astype(image.dtype, copy=False)

    return rgb, restore


def _planes_to_rgb(planes: Tensor, name: str) -> Tensor:
    """(B, C, H, W) of any accepted type to (B, 3, H, W) float32 in [0, 1]."""
    if 0 in planes.shape:
        height, width = planes.shape[-2:]
        raise ImageError(f"{name} has no pixels ({height} high, {width} wide).")
    if planes.dtype not in PEAKS and planes.dtype not in FLOATS:
        raise _wrong_type(name, planes.dtype)
    colour = planes[:, : _colours(planes)]
    if planes.dtype in PEAKS:
        rgb = colour.to(torch.float32).div_(PEAKS[planes.dtype])
    else:
        low, high = (float(value) for value in colour.detach().aminmax())
        # Written so that NaN fails too.
        if not (low >= 0 and high <= 1):
            raise _wrong_range(name, low, high)
        rgb = colour.to(torch.float32)
    return rgb.expand(-1, 3, -1, -1).contiguous()


# A tensor made in inference mode is of no use to a caller who goes on to train with it.
@torch.inference_mode(False)
def _rgb_to_planes(derained: Tensor, planes: Tensor) -> Tensor:
    """The way back: (B, 3, H, W) float to the shape, type, device and alpha of ``planes``."""
    result = torch.empty_like(planes, memory_format=torch.contiguous_format)
    colours = _colours(planes)
    result[:, colours:] = planes[:, colours:]
    # Row by row, or nearly so, since large images leave little memory.
    for top in range(0, planes.shape[2], _ROWS):
        rows = slice(top, top + _ROWS)
        colour = derained[:, :, rows].to(planes.device, torch.float32).clamp(0, 1)
        if colours == 1:
            # Their mean, so written that three equal values give that value to the last bit.
            colour = colour[:, :1] + (colour - colour[:, :1]).sum(1, keepdim=True) / 3
        if planes.dtype in PEAKS:
            colour = colour.mul_(PEAKS[planes.dtype]).round_()
        result[:, :colours, rows] = colour.to(planes.dtype)
    return result


def _colours(planes: Tensor) -> int:
    return 1 if planes.shape[1] < 3 else 3


# Pillow images: arrays, once the mode is settled.


def _from_pillow(image: PIL.Image.Image, name: str) -> tuple[Tensor, Restore]:
    working = _working(image, name)
    rgb, restore_pixels = _pixels(working, name)

    def restore(derained: Tensor) -> PIL.Image.Image:
        pixels = restore_pixels(derained)
        result = PIL.Image.frombytes(working.mode, working.size, pixels.tobytes())
        result = _to_mode(result, working, image)
        result.info = dict(working.info)
        result.format = image.format
        return result

    return rgb, restore


def _working(image: PIL.Image.Image, name: str) -> PIL.Image.Image:
    """The image in a mode whose array is planes of grey or RGB, with or without alpha."""
    if 0 in image.size:
        raise ImageError(f"{name} has no pixels ({image.height} high, {image.width} wide).")
    if image.mode.startswith("I") or image.mode in ("F", "RGBX"):
        return image
    alpha = "A" if image.has_transparency_data else ""
    if image.mode in ("1", "L", "LA", "La"):
        return image.convert("L" + alpha)
    if image.mode in ("P", "PA", "RGB", "RGBA", "RGBa"):
        return image.convert("RGB" + alpha)
    if image.mode in ("CMYK", "YCbCr", "HSV"):
        return image.convert("RGB")
    raise ImageError(f"{name} is of mode {image.mode}, which is not supported; convert it to RGB.")


def _pixels(working: PIL.Image.Image, name: str) -> tuple[Tensor, Restore]:
    rgb, restore = _plain_pixels(working, name)
    value = working.info.get("transparency")
    if not working.mode.startswith("I") or not isinstance(value, int):
        return rgb, restore
    # Deep grey has no mode with alpha: one of its values stands for transparent.
    clear = np.asarray(working) == value

    def keep_clear(derained: Tensor) -> NDArray[Any]:
        pixels = restore(derained)
        pixels[pixels == value] = value + 1 if value == 0 else value - 1
        pixels[clear] = value
        return pixels

    return rgb, keep_clear


def _plain_pixels(working: PIL.Image.Image, name: str) -> tuple[Tensor, Restore]:
    pixels = np.asarray(working)
    if working.mode != "I":
        return _from_array(pixels, name)
    # Pillow's 32-bit grey; what it is used for is the 16-bit grey of PNG and TIFF.
    if pixels.min() < 0 or pixels.max() > PEAKS[torch.uint16]:
        raise ImageError(
            f"{name} is of mode I with values from {pixels.min()} to {pixels.max()}, but 0 to 65535"
            " is expected; scale it first."
        )
    rgb, restore = _from_array(pixels.astype(np.uint16), name)
    return rgb, lambda derained: restore(derained).astype(np.int32)


def _to_mode(
    result: PIL.Image.Image, before: PIL.Image.Image, source: PIL.Image.Image
) -> PIL.Image.Image:
    """Bring an 8-bit result back to the source's colour space.

    A pixel that deraining left alone keeps the very values it had there, although those spaces
    round differently from RGB.
    """
    if source.mode == "1" and result.mode == "L":
        return result.point(lambda value: 255 * (value >= 128), "1")
    if source.mode not in ("CMYK", "YCbCr", "HSV"):
        return result
    there = _to_cmyk(result, source) if source.mode == "CMYK" else result.convert(source.mode)
    changed = (np.asarray(result) != np.asarray(before)).any(axis=2)
    merged = source.copy()
    merged.paste(there, mask=PIL.Image.fromarray(changed.astype(np.uint8) * 255))
    return merged


def _to_cmyk(rgb: PIL.Image.Image, source: PIL.Image.Image) -> PIL.Image.Image:
    """RGB to CMYK on the source's black plate.

    Pillow's own conversion empties the black plate, which a printing profile shows as another
    colour. Black gives way only where the derained colour is brighter than it allows.
    """
    colour = np.asarray(rgb).astype(np.float32)
    white = np.maximum(255.0 - np.asarray(source)[..., 3], colour.max(axis=2))[..., None]
    ink = 255 * (1 - colour / np.maximum(white, 1))
    plates = np.concatenate([ink, 255 - white], axis=2).round().astype(np.uint8)
    return PIL.Image.frombytes("CMYK", rgb.size, plates.tobytes())


def _wrong_type(name: str, dtype: object) -> ImageError:
    return ImageError(
        f"{name} is of type {dtype}, but uint8, uint16 or float in [0, 1] is expected; "
        "convert it first."
    )


def _wrong_range(name: str, low: float, high: float) -> ImageError:
    if not (np.isfinite(low) and np.isfinite(high)):
        return ImageError(f"{name} holds NaN or infinite values; replace them first.")
    hint = "divide it by 255" if high > 2 and low >= 0 else "clip or rescale it"
    return ImageError(
        f"{name} runs from {low:.9g} to {high:.9g}, but a float image is expected in [0, 1]; "
        f"{hint} first."
    )
