"""A training that went wrong stops before it spoils what it has; one that was killed goes on."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from raincleave.errors import TrainingError


class StopOnNaN(Callback):
    """Stop the training at the first loss or weight that is not a number.

    The loss is looked at before it can spoil the weights, the weights before they are saved, so
    that the last checkpoint is a good one.
    """

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Look at the loss.

        Raises:
            TrainingError: it is NaN or infinite.
        """
        if not torch.isfinite(loss):
            raise _not_finite("loss", loss.item(), trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Look at the weights.

        Raises:
            TrainingError: one is NaN or infinite.
        """
        for value in pl_module.parameters():
            if not torch.isfinite(value).all():
                raise _not_finite("weights", float("nan"), trainer)


def _not_finite(what: str, value: float, trainer: Trainer) -> TrainingError:
    last = getattr(trainer.checkpoint_callback, "last_model_path", "")
    kept = f"; the last good checkpoint is {last}" if last else ""
    return TrainingError(
        f"the {what} became {value} in step {trainer.global_step + 1}; lower the learning rate "
        f"(--optimizer.lr) or train in --trainer.precision 32{kept}."
    )


class LastCheckpoint(ModelCheckpoint):
    """Lightning's, which saves where nothing is held out too, whenever validation would be due.

    Where validation goes by steps and there is none, Lightning saves nothing at all.
    """

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Save where validation would have been."""
        super().on_train_batch_end(trainer, pl_module, *args)
        interval = trainer.val_check_interval
        due = isinstance(interval, int) and trainer.global_step % interval == 0
        if due and not sum(trainer.num_val_batches):
            self.on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save at the end of an epoch, of the last one too."""
        super().on_train_epoch_end(trainer, pl_module)
        if not sum(trainer.num_val_batches):
            self.on_validation_end(trainer, pl_module)
