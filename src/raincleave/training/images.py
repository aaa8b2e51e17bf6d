"""Pictures out of training and prediction: strips for the logger, derained files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from PIL import Image
from torch import Tensor

from raincleave.errors import ConfigError
from raincleave.inference import files
from raincleave.models import Derainer


class ImageStrip(Callback):
    """Show validation images in the logger: rainy, every stage, clean, side by side.

    Loggers whose experiment has ``add_image``, as TensorBoard's, show them; the rest go without.

    Args:
        images: how many of the validation images.
        size: side of the part shown, cut from the middle, in pixels.
    """

    def __init__(self, images: int = 2, size: int = 192) -> None:
        self.images, self.size = images, size

    def on_validation_batch_end(  # noqa: PLR0917 - Lightning's signature
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Log the strip of one of the first images; the weights are those being validated."""
        if batch_idx >= self.images or not trainer.is_global_zero or trainer.sanity_checking:
            return
        for logger in trainer.loggers:
            add_image = getattr(getattr(logger, "experiment", None), "add_image", None)
            if add_image is not None and isinstance(pl_module, Derainer):
                image = strip(pl_module, batch, self.size)
                add_image(f"val/{batch['name'][0]}", image, trainer.global_step)


def strip(model: Derainer, batch: dict[str, Any], size: int) -> Tensor:
    """The middle of a batch's first image: rainy, every stage's background, clean.

    Args:
        model: unrolled over the part that is shown.
        batch: ``rainy`` and ``clean``, (B, 3, H, W).
        size: side of the part in pixels, at most.

    Returns:
        (3, h, w·(T + 2)), in [0, 1], on the CPU.
    """
    rainy, clean = (_middle(batch[key][:1], size) for key in ("rainy", "clean"))
    with torch.no_grad():
        stages = [stage.background for stage in model.unroll(_padded(rainy, model.size_multiple))]
    height, width = rainy.shape[-2:]
    panels = [rainy, *(stage[..., :height, :width] for stage in stages), clean]
    return torch.cat([panel[0].float().cpu() for panel in panels], 2).nan_to_num().clamp(0, 1)


def _middle(image: Tensor, size: int) -> Tensor:
    height, width = image.shape[-2:]
    top, left = max(0, height - size) // 2, max(0, width - size) // 2
    return image[..., top : top + size, left : left + size]


def _padded(image: Tensor, multiple: int) -> Tensor:
    bottom, right = (-image.shape[-2] % multiple, -image.shape[-1] % multiple)
    return F.pad(image, (0, right, 0, bottom), mode="replicate") if bottom or right else image


class WriteImages(BasePredictionWriter):
    """Write every derained image as a PNG under its own name; each process writes its share.

    Args:
        folder: where to; made if it is not there.
        overwrite: replace files that are there already.
    """

    def __init__(self, folder: str = "derained", overwrite: bool = False) -> None:
        super().__init__("batch")
        self.folder, self.overwrite = Path(folder), overwrite

    def write_on_batch_end(  # noqa: PLR0917 - Lightning's signature
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write one batch.

        Raises:
            ConfigError: a file is there already.
        """
        for name, image in zip(batch["name"], prediction, strict=True):
            path = self.folder / f"{name}.png"
            if path.exists() and not self.overwrite:
                raise ConfigError(
                    f"{path} is there already; give another --output.folder, or allow it with "
                    "--output.overwrite true."
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = image.float().mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
            files.save(Image.fromarray(pixels), path)
