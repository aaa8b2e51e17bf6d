"""A training that went wrong stops before it spoils what it has; one that was killed goes on."""

from pathlib import Path
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
    paths = [
        Path(callback.best_model_path)
        for callback in trainer.checkpoint_callbacks
        if isinstance(callback, LastCheckpoint)
    ]
    kept = "".join(f"; the last good checkpoint is {path}" for path in paths if path.is_file())
    return TrainingError(
        f"the {what} became {value} in step {trainer.global_step + 1}; lower the learning rate "
        f"(--optimizer.lr) or train in --trainer.precision 32{kept}."
    )


class BestCheckpoint(ModelCheckpoint):
    """Lightning's, which knows the best again when a run goes on from elsewhere, or was moved.

    Lightning forgets it where the folder is called otherwise, from the current one or at all.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the scores of what lies in the folder now."""
        here = Path(str(self.dirpath))
        best = here / Path(state_dict["best_model_path"]).name
        if best.is_file():
            scores = state_dict["best_k_models"]
            state_dict = {
                **state_dict,
                "dirpath": self.dirpath,
                "best_k_models": {str(here / Path(k).name): v for k, v in scores.items()},
                **{
                    key: state_dict[key] and str(here / Path(state_dict[key]).name)
                    for key in ("best_model_path", "kth_best_model_path", "last_model_path")
                },
            }
        super().load_state_dict(state_dict)


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
