"""What the machine at hand does best: number formats, compiled stages, files written whole."""

import os
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import nn

from raincleave.weightfiles import write_bytes


def native_precision(accelerator: str = "auto") -> str:
    """The fastest number format for training that the processor has in hardware.

    bfloat16 where it is native: CUDA from compute capability 8.0, CPUs with AVX512-BF16 or AMX.
    Where it would be emulated it is slower than float32.

    Args:
        accelerator: Lightning's ``--trainer.accelerator``.

    Returns:
        A value of Lightning's ``--trainer.precision``: ``"bf16-mixed"`` or ``"32-true"``.
    """
    if accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = accelerator in ("auto", "cpu") and not torch.backends.mps.is_available()
        native = native and _cpu_has_bf16()
    return "bf16-mixed" if native else "32-true"


def _cpu_has_bf16() -> bool:
    # Private to torch; where a version lacks one of them, float32 is safe.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)


def compile_stages(model: nn.Module) -> None:
    """Let every stage of ``model`` run through ``torch.compile``, from the next call on.

    Args:
        model: a `raincleave.models.Derainer`, changed in place.
    """
    run_stage: Any = model.run_stage
    compiled: dict[Any, Any] = {}

    def run(stage: Any, *arguments: Any) -> Any:
        if stage not in compiled:
            compiled[stage] = torch.compile(stage)
        return run_stage(compiled[stage], *arguments)

    model.run_stage = run  # type: ignore[assignment]


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all, whatever moment the process is killed at.

    Lightning's own writes to the system's temporary folder and then copies, if that lies on another
    disk.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write beside ``path``, then take its place in one step."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Through memory: where the disk is full, torch's own writer fails without saying so.
        content = BytesIO()
        torch.save(checkpoint, content)
        write_bytes(path, content.getvalue())
