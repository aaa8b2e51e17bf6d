"""What a training shows while it runs."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch import callbacks as lightning
from rich.console import Console

from raincleave.seldom import Seldom


def bar_or_lines() -> lightning.ProgressBar:
    """A bar on a terminal or in a notebook, lines of text in a file, such as a job's log."""
    console = Console()
    return ProgressBar() if console.is_terminal or console.is_jupyter else ProgressLines()


class Opening(lightning.Callback):
    """One line before a training starts: which network, where, and on how many images.

    In place of Lightning's table, which lists the metrics, too, and counts no operations here.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print it, on the first rank alone."""
        if trainer.is_global_zero:
            weights = sum(parameter.numel() for parameter in pl_module.parameters())
            network = f"{type(pl_module).__name__}, {weights:,} parameters"
            where = f"{pl_module.device.type}, {trainer.precision}"
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            count = data.train_set.image_count
            held_out = data.val_set.image_count if trainer.limit_val_batches else 0
            images = f"{count} images to train on, {held_out} to validate on"
            kept = "" if held_out else ", so the last weights are kept, not the best"
            print(f"{network}; {where}; {images}{kept}.", flush=True)


class ProgressBar(lightning.RichProgressBar):
    """Lightning's bar with loss and PSNR, without the version number among the metrics."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The metrics logged for the bar, the name of the logger's folder left out."""
        metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics

    def _get_train_description(self, current_epoch: int) -> str:
        # Lightning's own says "Epoch 3/-2" where steps, not epochs, are counted.
        if self.trainer.max_epochs in (None, -1):
            return f"Step {self.trainer.global_step} of {self.trainer.max_steps}"
        return super()._get_train_description(current_epoch)


class ProgressLines(lightning.ProgressBar):
    """A line after every validation and, between them, when it is time by `Seldom`."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._seldom, self._begun_at = Seldom(), 0

    def disable(self) -> None:
        """Print nothing, as on all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Print again."""
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; a resumed training starts where it stopped."""
        self._seldom, self._begun_at = Seldom(), trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, *batch: Any) -> None:
        """Print step, time left, loss and PSNR, if it is time."""
        if not self._seldom.is_time():
            return
        steps, total = trainer.global_step - self._begun_at, trainer.estimated_stepping_batches
        known = steps and 0 <= total < float("inf")
        left = f", {self._seldom.left(steps, total - self._begun_at)}" if known else ""
        self._say(trainer, left, "train/", trainer.progress_bar_metrics)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the validation's PSNR and SSIM."""
        if not trainer.sanity_checking:
            self._say(trainer, "", "val/", trainer.callback_metrics)

    def _say(self, trainer: Trainer, left: str, prefix: str, metrics: Mapping[str, Any]) -> None:
        total = trainer.estimated_stepping_batches
        of = f" of {total}" if 0 <= total < float("inf") else ""
        said = ", ".join(
            f"{name} {float(value):#.4g}"
            for name, value in metrics.items()
            if name.startswith(prefix)
        )
        if self._enabled:
            print(f"step {trainer.global_step}{of}{left}: {said}", flush=True)
