"""The best weights of a training, as a file that `raincleave.load` reads, with a card."""

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from raincleave import __version__
from raincleave.hub import build
from raincleave.models import Derainer
from raincleave.weightfiles import write_bytes


class ExportWeights(Callback):
    """Keep the best validated weights as a ``.safetensors`` file, ready for `raincleave.load`.

    The best are those of the highest ``val/psnr``; with an average of weights (EMA) the averaged
    ones, which are what validation sees. Without validation they are the last ones. A card beside
    the file, with the suffix ``.md``, says how they came about.

    Args:
        path: the file; by default ``weights.safetensors`` in the run's folder.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path
        self.best = float("-inf")
        self._validated: dict[str, Tensor] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget a best score whose weights are not where this training's go: resumed elsewhere."""
        if isinstance(pl_module, Derainer):
            pl_module.configuration()  # what cannot be saved is told before the training
        if not self.file(trainer).is_file():
            self.best = float("-inf")

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Have the last weights validated, and so kept, wherever validation's interval ends."""
        if 0 <= trainer.estimated_stepping_batches <= trainer.global_step:  # −1 is unknown
            trainer.should_stop = True

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Remember the weights under test: once validation has a score, EMA has put others back."""
        counts = not trainer.sanity_checking and not _afterwards(trainer)
        if batch_idx == 0 and trainer.is_global_zero and counts:
            state = pl_module.state_dict()
            self._validated = {key: value.detach().clone() for key, value in state.items()}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the weights just validated if none were better."""
        if trainer.sanity_checking or self._validated is None:
            return
        psnr = float(trainer.callback_metrics.get("val/psnr", float("nan")))
        if psnr > self.best:
            self.best = psnr
            self._write(trainer, pl_module, self._validated)
        self._validated = None

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last weights if none were validated."""
        if not self.validated and trainer.is_global_zero:
            self._write(trainer, pl_module, pl_module.state_dict())

    @property
    def validated(self) -> bool:
        """Whether any weights have a score, so that the file holds the best of them."""
        return self.best > float("-inf")

    def state_dict(self) -> dict[str, Any]:
        """The best score, so that a resumed run does not replace better weights."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the best score."""
        self.best = state_dict["best"]

    def file(self, trainer: Trainer) -> Path:
        """Where the weights of this training go."""
        return Path(self.path or _folder(trainer) / "weights.safetensors")

    def _write(self, trainer: Trainer, model: LightningModule, weights: dict[str, Tensor]) -> None:
        if trainer.fast_dev_run or not isinstance(model, Derainer):  # type: ignore[attr-defined]
            return
        path = self.file(trainer)
        path.parent.mkdir(parents=True, exist_ok=True)
        # By its class, not the class's name: a notebook's cells run again.
        best = build(type(model), model.configuration()["arguments"], weights)
        best.card = {"name": path.stem, "training": training_facts(trainer)}
        best.save(path)
        card = str(best.generate_model_card(ref=path.name))
        write_bytes(path.with_suffix(".md"), card.encode())


def _afterwards(trainer: Trainer) -> bool:
    """Whether this is no validation of a training, but one of what it has made."""
    return trainer.state.fn != TrainerFn.FITTING and trainer.global_step > 0


def _folder(trainer: Trainer) -> Path:
    """The run's folder: the one that Lightning puts the checkpoints' into."""
    if not trainer.loggers:
        return Path(trainer.default_root_dir)
    logger: Any = trainer.loggers[0]
    if logger.log_dir:
        return Path(logger.log_dir)
    # Loggers of a server have none, but names for the run.
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    return Path(logger.save_dir or trainer.default_root_dir, str(logger.name), version)


def training_facts(trainer: Trainer) -> dict[str, Any]:
    """How a training went, as ``checkpoints.json`` and the cards tell it."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    roots = ", ".join(str(root) for root in getattr(data, "roots", [])) or "unknown folders"
    cuda = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
    # Run by a script of its own, or in a notebook, there is no such command.
    program = Path(sys.argv[0]).name.removesuffix(".exe")
    program = "raincleave" if program in ("raincleave", "__main__.py") else program
    facts = {
        "data": roots if data is None else f"{type(data).__name__}, {roots}",
        "command": shlex.join([program, *sys.argv[1:]]),
        "steps": trainer.global_step,
        "precision": trainer.precision,
        "machine": f"{trainer.world_size} x {device}",
        "seed": os.environ.get("PL_GLOBAL_SEED", "none"),
        "versions": f"raincleave {__version__}, torch {torch.__version__}, "
        f"lightning {lightning.__version__}",
    }
    for key, unit in (("val/psnr", " dB"), ("val/ssim", "")):
        if key in trainer.callback_metrics:
            facts[key] = f"{float(trainer.callback_metrics[key]):.4f}{unit}"
    return facts
