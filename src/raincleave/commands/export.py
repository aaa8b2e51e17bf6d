"""``raincleave export``: a model for ONNX Runtime, OpenVINO or torch.export."""

from pathlib import Path
from typing import Any, Literal

from raincleave.export import SUFFIXES
from raincleave.export import export as export_model
from raincleave.hub import load
from raincleave.remote import SCHEME


def add_arguments(parser: Any) -> None:
    """Adds the options, ``--to`` among them as one that must be given."""
    parser.add_argument("model", help="name of a checkpoint or a file of weights")
    parser.add_argument("--to", required=True, choices=list(SUFFIXES), help="the format")
    parser.add_function_arguments(export, skip={"model", "to"})


def export(
    model: str,
    *,
    to: Literal["onnx", "openvino", "torch-export"],
    stages: int | None = None,
    output: str | None = None,
) -> None:
    """Write a model for another runtime, checked against PyTorch at three sizes.

    Batch, height and width stay free. The file takes (B, 3, H, W), RGB in [0, 1], and gives the
    derained image, not clamped.

    Args:
        model: name of a checkpoint or a file of weights.
        to: onnx, openvino or torch-export.
        stages: stop after this many stages; faster and less thorough.
        output: the file; MODEL with the format's suffix, here, if not given.

    Raises:
        ConfigError: a package is missing, or the result is not what PyTorch computes.
        CheckpointError: the model cannot be loaded.
    """
    path = Path(output or _plain_name(model))
    if path.suffix != SUFFIXES[to]:
        path = path.with_name(path.name + SUFFIXES[to])
    network = load(model)
    error = export_model(network, to, path, stages)
    multiple = network.size_multiple
    sizes = f", sizes in multiples of {multiple}" if multiple > 1 else ""
    print(f"wrote {path} (within {error:.0e} of PyTorch{sizes})")


def _plain_name(model: str) -> str:
    """What a file made of a model is called: no folder, owner, revision or suffix of weights."""
    name = Path(model.partition("@")[0] if model.startswith(SCHEME) else model)
    weights = name.suffix in (".safetensors", ".ckpt", ".pth", ".pt")
    return name.stem if weights else name.name
