"""``raincleave doctor``: what is installed, what works here, whether the weights are whole."""

import hashlib
import platform
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_PACKAGES = (
    "raincleave",
    "torch",
    "lightning",
    "torchmetrics",
    "kornia",
    "huggingface-hub",
    "safetensors",
    "pillow",
    "numpy",
)
_EXTRAS = {
    "heic": "pillow-heif",
    "video": "av",
    "train": "tensorboard",
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "app": "gradio",
}
"""The package of each extra whose lack is noticed first."""


def doctor() -> int:
    """Say what raincleave finds on this machine; paste it into a bug report.

    Returns:
        0, or 1 if weights are missing or damaged.
    """
    weights, whole = _weights()
    sections = {
        "versions": [
            f"python {platform.python_version()}, {platform.platform()}",
            *(_version(name) or f"{name} is not installed" for name in _PACKAGES),
        ],
        "extras": [
            _version(name) or f"{name} is not installed: pip install 'raincleave[{extra}]'"
            for extra, name in _EXTRAS.items()
        ],
        "devices": _devices(),
        "cache": _cache(),
        "packaged weights": weights,
    }
    for title, lines in sections.items():
        print(title)
        print("\n".join(f"  {line}" for line in lines))
    return 0 if whole else 1


def _version(name: str) -> str | None:
    """A package and its version, if it is installed."""
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return None


def _devices() -> list[str]:
    import torch

    flags = torch.backends.cpu.get_cpu_capability()
    lines = [f"cpu: {torch.get_num_threads()} threads, {flags}, {_cpu_precisions()}"]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        lines.append(
            f"cuda:{index}: {properties.name}, {properties.total_memory / 2**30:.0f} GiB, "
            f"{_cuda_precisions(properties)}"
        )
    if torch.backends.mps.is_available():
        lines.append("mps: float32, float16")
    return lines


def _cpu_precisions() -> str:
    """float32, and bf16 where the processor computes in it rather than emulating it."""
    import torch

    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    native = any(getattr(torch.cpu, probe, bool)() for probe in probes)
    return "float32, bf16" if native else "float32 (bf16 would be emulated)"


def _cuda_precisions(properties: "torch.cuda._CudaDeviceProperties") -> str:
    bf16 = properties.major >= 8  # Ampere; before, it is emulated
    return "float32, float16" + (", bf16, tf32" if bf16 else " (bf16 would be emulated)")


def _cache() -> list[str]:
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    state = "there" if folder.is_dir() else "not made yet"
    return [
        f"{folder} ({state})",
        f"{constants.ENDPOINT}{', offline (HF_HUB_OFFLINE)' if constants.HF_HUB_OFFLINE else ''}",
    ]


def _weights() -> tuple[list[str], bool]:
    """One line for each named checkpoint, and whether all weights are there and undamaged."""
    from raincleave.hub import checkpoints

    lines, whole = [], True
    for name, entry in sorted(checkpoints().items()):
        path = resources.files("raincleave") / "weights" / str(entry.get("file"))
        if path.is_file():
            fits = hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
            state = "whole" if fits else "DAMAGED: the hash does not fit; reinstall raincleave"
        else:
            fits = bool(entry.get("hub"))
            state = f"on the Hub, {entry['hub']['repo']}" if fits else "MISSING"
        whole = whole and fits
        lines.append(f"{name}: {state}, sha256 {entry['sha256'][:16]}…")
    return lines or ["none"], whole
