"""How long a training step waits for its data, and what the rain costs, by Lightning's profiler.

    python examples/data_wait.py clean_photos --workers 2

Trains a DRN 7x7 for some steps on rain rendered over a folder of photos, as `raincleave fit` does,
and prints the share of the time that went into waiting for the loader and into rendering. The
first step, in which the loader's processes start, is left out.
"""

import argparse
import logging
import warnings
from typing import Any, NamedTuple

from lightning import Trainer
from lightning.pytorch.profilers import SimpleProfiler

from raincleave.data.datamodules import SyntheticRain
from raincleave.models import DRN


class Shares(NamedTuple):
    """Seconds a step, and what share of them waits or renders."""

    step: float
    waiting: float
    rendering: float


def measure(root: str, steps: int, model: DRN, precision: Any = "32-true", **data: Any) -> Shares:
    """Train for some steps and take the profiler's times apart."""
    profiler = SimpleProfiler()
    module = SyntheticRain(root, patches_per_epoch=(steps + 1) * data["batch_size"], **data)
    trainer = Trainer(
        max_epochs=1,
        limit_val_batches=0,
        precision=precision,
        profiler=profiler,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(model, datamodule=module)

    def seconds(name: str) -> float:
        """Seconds of all but the first call whose name ends so."""
        times = [t for key, t in profiler.recorded_durations.items() if key.endswith(name)]
        return sum(times[0][1 : steps + 1]) if times else 0.0

    waiting = seconds("train_dataloader_next")
    rendering = seconds("SyntheticRain.on_after_batch_transfer")
    whole = waiting + rendering + seconds("run_training_batch")
    return Shares(whole / steps, waiting / whole, rendering / whole)


def main() -> None:
    """Read the arguments, measure, print one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", help="folder of clean photos")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--patch-size", type=int, default=100)
    parser.add_argument("--stages", type=int, default=7, help="T of the DRN; fewer for a quick try")
    parser.add_argument("--precision", default="32-true", help="bf16-mixed, 32-true ...")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    shares = measure(
        args.root,
        args.steps,
        DRN(stages=args.stages),
        args.precision,
        batch_size=args.batch_size,
        patch_size=args.patch_size,
        num_workers=args.workers,
    )
    print(
        f"{shares.step:.3f} s a step of {args.batch_size} patches of {args.patch_size}: "
        f"{shares.waiting:.2%} waiting for data, {shares.rendering:.2%} rendering rain"
    )


if __name__ == "__main__":
    main()
