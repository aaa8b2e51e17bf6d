"""``raincleave fit | validate | test | predict``: the Lightning CLI over our models and data."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging
from lightning.pytorch.cli import LightningCLI

from raincleave import models as models  # jsonargparse finds the short names by what is imported
from raincleave.data import datamodules as datamodules
from raincleave.data.datamodules import RainDataModule
from raincleave.errors import ConfigError
from raincleave.models import Derainer

__all__ = ["EMAWeightAveraging", "ExportWeights", "RaincleaveCLI", "WarmupCosine", "main"]


class WarmupCosine(torch.optim.lr_scheduler.LambdaLR):
    """Learning rate rising linearly over the first steps, then falling along a cosine to a floor.

    Args:
        optimizer: whose learning rate is scheduled.
        total_steps: length of the training in optimiser steps.
        warmup_steps: steps until the full rate.
        floor: last rate over the full one.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        total_steps: int,
        warmup_steps: int = 100,
        floor: float = 0.01,
    ) -> None:
        def factor(step: int) -> float:
            if step < warmup_steps:
                return (step + 1) / warmup_steps
            done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
            return floor + (1 - floor) * 0.5 * (1 + torch.tensor(torch.pi * done).cos().item())

        super().__init__(optimizer, factor)


class ExportWeights(Callback):
    """Write the weights as ``weights.safetensors``, ready for `raincleave.load`.

    After every validation and at the end; with EMA, the averaged ones, which validation sees.

    Args:
        path: the file; by default ``weights.safetensors`` in the trainer's root folder.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Export what was just validated."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        path = Path(self.path or Path(trainer.default_root_dir) / "weights.safetensors")
        path.parent.mkdir(parents=True, exist_ok=True)
        pl_module.save(path)


class RaincleaveCLI(LightningCLI):
    """Lightning's command line with our models and DataModules by their short names."""

    @staticmethod
    def configure_optimizers(
        lightning_module: LightningModule,
        optimizer: torch.optim.Optimizer,
        lr_scheduler: Any = None,
    ) -> Any:
        """As Lightning's, but a `WarmupCosine` moves with every step, not every epoch."""
        if isinstance(lr_scheduler, WarmupCosine):
            return [optimizer], [{"scheduler": lr_scheduler, "interval": "step"}]
        return LightningCLI.configure_optimizers(lightning_module, optimizer, lr_scheduler)

    def before_fit(self) -> None:
        """Memory layout and starting weights."""
        self.model.to(memory_format=torch.channels_last)


def _recipes(argv: Sequence[str]) -> list[str]:
    """Replace ``recipe:NAME`` by the packaged file."""
    folder = resources.files("raincleave") / "recipes"
    found = []
    for word in argv:
        prefix, mark, name = word.partition("recipe:")
        if not mark or prefix not in ("", "--config="):
            found.append(word)
            continue
        path = folder / f"{name}.yaml"
        if not path.is_file():
            known = sorted(Path(str(p)).stem for p in folder.iterdir() if p.name.endswith(".yaml"))
            raise ConfigError(f"there is no recipe {name!r}; choose one of {', '.join(known)}.")
        found.append(f"{prefix}{path}")
    return found


def _take_init_from(argv: Sequence[str]) -> tuple[list[str], Derainer | None]:
    """Take ``--model.init_from REF`` out; what it names decides the model unless ``--model`` does."""
    from raincleave.hub import load

    rest, ref = [], None
    words = iter(argv)
    for word in words:
        if word == "--model.init_from":
            ref = next(words, None)
        elif word.startswith("--model.init_from="):
            ref = word.partition("=")[2]
        else:
            rest.append(word)
    if ref is None:
        return rest, None
    start = load(ref)
    if not any(word == "--model" or word.startswith("--model=") for word in rest):
        given = [f"--model={type(start).__name__}"]
        given += [f"--model.{key}={value}" for key, value in start.hparams.items()]
        rest[1:1] = given
    return rest, start


def main(argv: Sequence[str]) -> None:
    """Run one of Lightning's subcommands, ``argv`` as after ``raincleave``."""
    args, start = _take_init_from(_recipes(argv))

    class CLI(RaincleaveCLI):
        def before_fit(self) -> None:
            super().before_fit()
            if start is not None:
                self.model.load_state_dict(start.state_dict())

    CLI(
        Derainer,
        RainDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        save_config_kwargs={"overwrite": True},
        args=args,
    )
