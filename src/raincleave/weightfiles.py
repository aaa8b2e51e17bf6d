"""Reading files of weights that nobody vouches for: nothing in them runs or floods the memory."""

import json
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raincleave.atomic import whole
from raincleave.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

MAX_BYTES = 2**30
"""Larger files are refused unread; the largest network here has some 40 MB of weights."""
_ZIP, _LEGACY = b"PK\x03\x04", b"\x80\x02"


def read_bytes(path: Path) -> bytes:
    """The whole file, which is then hashed and parsed from memory: nobody can swap it in between.

    Raises:
        CheckpointError: it is no file, is empty, is larger than any of ours, or cannot be read.
    """
    try:
        if not path.is_file():
            raise CheckpointError(f"{path} is not a file.")
        size = path.stat().st_size
        if not 0 < size <= MAX_BYTES:
            raise CheckpointError(f"{path} has {size} bytes, which no file of weights has.")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}).") from error


def parse_safetensors(data: bytes, source: str) -> tuple[dict[str, str], dict[str, "Tensor"]]:
    """The header's metadata and the tensors of a safetensors file's bytes.

    Raises:
        CheckpointError: the bytes are no safetensors file, or its header lies about them.
    """
    from safetensors.torch import load

    try:
        weights = load(data)
        # The load above has checked that the header is where and what it says.
        header, _ = _header(data)
    except Exception as error:  # a corrupt header surfaces as whatever it happens to break
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{source} is not a readable safetensors file ({reason}).") from error
    return header.get("__metadata__") or {}, weights


def to_safetensors(weights: Mapping[str, "Tensor"], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file, the same ones whenever the weights and metadata are.

    The library writes the metadata in an order that changes from call to call, and with it the
    sha256 that a card names.
    """
    from safetensors.torch import save

    data = save(dict(weights), dict(metadata))
    entries, end = _header(data)
    header = json.dumps(entries, sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the tensors begin at a multiple of 8
    return len(header).to_bytes(8, "little") + header + data[end:]


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """The entries of a safetensors file's header, and where it ends and the tensors begin."""
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), end


def parse_pickle(data: bytes, source: str) -> dict[str, Any]:
    """The dictionary that ``torch.save`` wrote, read without running anything in it.

    Raises:
        CheckpointError: the bytes are no such file, hold code or unknown objects, or unpack to
            more than they are.
    """
    import torch

    if not data.startswith((_ZIP, _LEGACY)):
        raise CheckpointError(f"{source} is not a file that torch.save wrote.")
    if data.startswith(_ZIP):
        _check_zip(data, source)
    try:
        content = torch.load(BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a corrupt pickle surfaces as whatever it happens to break
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise CheckpointError(
                f"{source} holds more than weights (Python objects or code), which is never loaded."
            ) from error
        raise CheckpointError(f"{source} is corrupt and cannot be read.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{source} holds a {type(content).__name__}, not weights by name.")
    return content


def _check_zip(data: bytes, source: str) -> None:
    """torch.save stores without compressing; what unpacks to more than the file is a bomb."""
    try:
        entries = zipfile.ZipFile(BytesIO(data)).infolist()
    except Exception as error:  # zipfile raises a dozen kinds on corrupt archives
        raise CheckpointError(f"{source} is corrupt and cannot be read.") from error
    stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
    if not stored or sum(entry.file_size for entry in entries) > len(data):
        raise CheckpointError(f"{source} is compressed, which torch.save never does; not unpacked.")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        CheckpointError: it cannot be written.
    """
    try:
        with whole(path) as part:
            part.write_bytes(data)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written ({error.strerror}).") from error
