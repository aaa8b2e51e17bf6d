"""What a training shows while it runs."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar


class ProgressBar(RichProgressBar):
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
