"""Networks for other runtimes: ONNX, OpenVINO and torch.export, checked before they are kept.

What is exported takes (B, 3, H, W), RGB in [0, 1], and gives the background of the last stage, not
clamped. Batch, height and width are free; height and width must be multiples of the network's
``size_multiple``, and larger than that where it is not 1.
"""

import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from errno import ENOSPC
from importlib import import_module
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import torch
from torch import Tensor, nn

from raincleave.errors import ConfigError
from raincleave.inference.tiling import Network
from raincleave.models import Derainer
from raincleave.models.layers import pad_to_multiple

Format = Literal["onnx", "openvino", "torch-export"]
Backend = Literal["onnxruntime", "openvino"]
SUFFIXES: dict[str, str] = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2"}
TOLERANCE = 1e-4
"""How far an exported network may be off, in image units."""
_EXPORTING = Lock()
"""torch.export works in one thread at a time."""
_CHECKS = ((1, 16, 24), (2, 40, 16), (1, 56, 72))
"""Batch, height and width; none of them is what the network is traced at."""


class _Forward(nn.Module):
    """`Derainer` is a LightningModule, whose trainer property torch.export must not touch."""

    def __init__(self, model: Derainer, stages: int | None) -> None:
        super().__init__()
        self.model, self.stages = model, stages

    def forward(self, rainy: Tensor) -> Tensor:
        return self.model(rainy, self.stages)


def export(
    model: Derainer, to: Format, path: str | os.PathLike[str], stages: int | None = None
) -> float:
    """Write a network for another runtime, checked against PyTorch at three sizes.

    Args:
        model: in any mode, on any device, of any type; a copy of it is exported in eval mode, from
            the CPU, in float32.
        to: ``"onnx"``, ``"openvino"`` (an .xml and a .bin beside it) or ``"torch-export"``.
        path: the file; whole or not there at all.
        stages: stop after this many stages.

    Returns:
        The largest difference from PyTorch, in image units.

    Raises:
        ConfigError: a package is missing, the file cannot be written, or the result differs by more
            than `TOLERANCE`.
    """
    if to not in SUFFIXES:
        raise ConfigError(f"there is no format {to!r}; choose of {', '.join(SUFFIXES)}.")
    path = Path(path)
    with _EXPORTING, torch.inference_mode(False), torch.autocast("cpu", enabled=False):
        copy = deepcopy(model).cpu().float().eval()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _quiet():
                return _export(copy, to, path, stages)
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror or error}.") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without PyTorch's warnings about itself, which no user of ours can do anything about."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _export(model: Derainer, to: Format, path: Path, stages: int | None) -> float:
    program = _trace(model, stages)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as scratch:
        draft = Path(scratch, path.name)
        {"onnx": _write_onnx, "openvino": _write_openvino, "torch-export": _write_program}[to](
            program, draft
        )
        error = _largest_error(_open(draft, to), model, stages)
        if error > TOLERANCE:
            raise ConfigError(
                f"the exported network is off by {error:.1g}, more than {TOLERANCE:g}; "
                "nothing was written."
            )
        for part in sorted(Path(scratch).iterdir(), key=lambda part: part.suffix != ".bin"):
            os.replace(part, path.with_name(part.name))  # noqa: PTH105
    return error


def backend(model: Derainer, name: Backend, stages: int | None = None) -> Network:
    """The network on another runtime, for images of any size.

    Raises:
        ConfigError: the runtime is not installed.
    """
    formats: dict[str, Format] = {"onnxruntime": "onnx", "openvino": "openvino"}
    if name not in formats:
        raise ConfigError(f"there is no backend {name!r}; choose torch, onnxruntime or openvino.")
    _package(name)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "network" + SUFFIXES[formats[name]])
        export(model, formats[name], path, stages)
        run = _open(path, formats[name])
    multiple = model.size_multiple

    def network(piece: Tensor) -> Tensor:
        height, width = piece.shape[-2:]
        if multiple > 1 and min(height, width) <= multiple:
            return model(piece, stages)  # smaller than what was exported takes
        result = run(pad_to_multiple(piece, multiple).float())[..., :height, :width]
        return result.to(piece)

    return network


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        extra = "openvino" if name == "openvino" else "onnx"
        raise ConfigError(
            f"{name} is not installed; pip install 'raincleave[{extra}]' brings it."
        ) from error


def _trace(model: Derainer, stages: int | None) -> torch.export.ExportedProgram:
    multiple = model.size_multiple
    batch, height, width = (torch.export.Dim(name) for name in ("batch", "height", "width"))
    free = {2: height, 3: width} if multiple == 1 else {2: multiple * height, 3: multiple * width}
    example = torch.zeros(2, 3, 3 * 8, 5 * 8)
    with torch.no_grad():
        return torch.export.export(
            _Forward(model, stages), (example,), dynamic_shapes=[{0: batch, **free}], strict=False
        )


def _write_program(program: torch.export.ExportedProgram, path: Path) -> None:
    # Through memory: where the disk is full, torch's own writer ends the process.
    content = BytesIO()
    torch.export.save(program, content)
    path.write_bytes(content.getvalue())


def _write_onnx(program: torch.export.ExportedProgram, path: Path) -> None:
    _package("onnxscript")
    made = torch.onnx.export(program, dynamo=True, external_data=False, verbose=False)
    assert made is not None
    proto = made.model_proto
    found = [dim.dim_param for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    names = dict(zip(found, ("batch", "", "height", "width"), strict=True))
    del names[""]  # the channels, whose number is fixed
    for value in (*proto.graph.input, *proto.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                dim.dim_param = names[dim.dim_param]
    path.write_bytes(proto.SerializeToString())


def _write_openvino(program: torch.export.ExportedProgram, path: Path) -> None:
    openvino = _package("openvino")
    made = openvino.convert_model(program)
    try:
        openvino.save_model(made, path, compress_to_fp16=False)
    except RuntimeError as error:
        raise OSError(ENOSPC, "there is no room for it on the disk") from error


def _open(path: Path, to: str) -> Callable[[Tensor], Tensor]:
    """What was written, as a function from tensors to tensors."""
    if to == "torch-export":
        module = torch.export.load(path).module()
        return module
    if to == "onnx":
        runtime = _package("onnxruntime")
        session = runtime.InferenceSession(path.read_bytes())
        name = session.get_inputs()[0].name
        return lambda rainy: torch.from_numpy(session.run(None, {name: _array(rainy)})[0])
    core = _package("openvino").Core()
    core.set_property({"ENABLE_MMAP": False})  # Windows deletes no file that is mapped
    exact = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = core.compile_model(core.read_model(path), "CPU", exact)
    return lambda rainy: torch.from_numpy(compiled(_array(rainy))[0].copy())


def _array(rainy: Tensor) -> Any:
    return rainy.contiguous().cpu().numpy()


@torch.no_grad()
def _largest_error(run: Callable[[Tensor], Tensor], model: Derainer, stages: int | None) -> float:
    worst, chance = 0.0, torch.Generator().manual_seed(0)
    for size in _CHECKS:
        rainy = torch.rand(size[0], 3, *size[1:], generator=chance)
        worst = max(worst, float((run(rainy).to(rainy) - model(rainy, stages)).abs().max()))
    return worst
