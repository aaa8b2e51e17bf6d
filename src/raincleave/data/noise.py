"""Gaussian noise in place of rain: the same networks as denoisers (ResGuideNet, section 5.1)."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from raincleave.data.pairs import seeded
from raincleave.data.synthetic import SyntheticRain
from raincleave.errors import DataError


class GaussianNoise(SyntheticRain):
    """White Gaussian noise added on the fly to clean photos; the noisy image is ``rainy``.

    Held-out photos validate, always under the same noise. Noisy values are not clipped.

    Args:
        root: folder of clean photos, or several.
        sigma: standard deviation in 8-bit levels; the paper trains for 10, 30 and 70.
        batch_size: training patches a step, on each device.
        **options: `RainDataModule`'s arguments.

    Raises:
        DataError: ``sigma`` is negative.
    """

    def __init__(
        self,
        root: str | Path | list[str],
        sigma: float = 30.0,
        *,
        batch_size: int = 16,
        **options: Any,
    ) -> None:
        if sigma < 0:
            raise DataError(f"sigma is {sigma}; a standard deviation is 0 or more.")
        super().__init__(root, **options)
        self.sigma = sigma

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Add the noise, on the device the batch is on, the same for the same images."""
        clean: Tensor = batch["clean"]
        serial = int(batch["serial"][0])
        generator = seeded(self.seed, serial)
        noise = torch.randn(clean.shape, generator=generator).to(clean) * (self.sigma / 255)
        return {**batch, "rainy": clean + noise, "clean": clean}
