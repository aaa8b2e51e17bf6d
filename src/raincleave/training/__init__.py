"""What training adds to Lightning: a schedule, an average, callbacks, the machine's best use."""

from raincleave.training.averaging import WarmupEMA
from raincleave.training.curves import CurvesInText
from raincleave.training.export import ExportWeights
from raincleave.training.guard import BestCheckpoint, LastCheckpoint, StopOnNaN
from raincleave.training.images import ImageStrip, WriteImages
from raincleave.training.machine import AtomicCheckpoints, compile_stages, native_precision
from raincleave.training.progress import Opening, ProgressBar, ProgressLines, bar_or_lines
from raincleave.training.schedule import WarmupCosine

__all__ = [
    "AtomicCheckpoints",
    "BestCheckpoint",
    "CurvesInText",
    "ExportWeights",
    "ImageStrip",
    "LastCheckpoint",
    "Opening",
    "ProgressBar",
    "ProgressLines",
    "StopOnNaN",
    "WarmupCosine",
    "WarmupEMA",
    "WriteImages",
    "bar_or_lines",
    "compile_stages",
    "native_precision",
]
