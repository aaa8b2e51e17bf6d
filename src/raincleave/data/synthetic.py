"""Training pairs without a dataset: rain rendered on clean photos as they pass by."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from raincleave.data.base import RainDataModule, split_scenes
from raincleave.data.layouts import find_pairs
from raincleave.data.pairs import CleanImages, seeded
from raincleave.data.pictures import image_files_of
from raincleave.data.synthesis import RainRenderer
from raincleave.data.textures import RainTextures
from raincleave.errors import ConfigError


class SyntheticRain(RainDataModule):
    """Rain rendered on the fly, on the training device, over folders of clean photos.

    Held-out photos validate, always under the same rain; test and prediction show all photos.
    Photos of the same file name count as one scene.

    Args:
        root: folder of clean photos, or several.
        preset: the rain, or several kinds in equal parts; see
            `raincleave.data.synthesis.RainRenderer`.
        textures: a folder of genuine pairs whose rain takes the place of drawn streaks, see
            `raincleave.data.textures.RainTextures`; never for ``"light"``.
        texture_rate: share of the patches that get genuine rain, where there are textures.
        dry_rate: share of the training patches that stay dry, 0 … 1, so that the network learns to
            leave a dry photo alone. Validation always has rain.
        **options: `RainDataModule`'s arguments.

    Raises:
        ConfigError: there is no such rain, or a rate is none.
    """

    def __init__(
        self,
        root: str | Path | list[str],
        preset: str | list[str] = "heavy",
        textures: str | None = None,
        texture_rate: float = 0.67,
        dry_rate: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(root, **options)
        for name, rate in (("dry_rate", dry_rate), ("texture_rate", texture_rate)):
            if not 0 <= rate <= 1:
                raise ConfigError(f"{name} is a share from 0 to 1, not {rate!r}.")
        self.dry_rate = dry_rate
        names = [preset] if isinstance(preset, str) else preset
        if not names:
            raise ConfigError("preset names no rain; give at least one kind.")
        layers = _textures(textures) if textures else None
        self.renderers = [
            RainRenderer(name)
            if layers is None or name == "light"
            else RainRenderer(name, textures=layers, texture_rate=texture_rate)
            for name in names
        ]

    def setup(self, stage: str) -> None:
        """Find the photos and hold out whole scenes."""
        photos = [photo for root in self.roots for photo in image_files_of(root, "clean photos")]
        if stage in ("fit", "validate"):
            photos = self._without_excluded(photos, lambda photo: photo.stem)
            held_out = split_scenes([p.stem for p in photos], self.val_fraction, self.seed)
            self.val_set = CleanImages([p for p in photos if p.stem in held_out])
            if stage == "fit":
                training = [p for p in photos if p.stem not in held_out]
                self.train_set = CleanImages(training, **self.patching)
        else:
            self.test_set = CleanImages(photos)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Let it rain: ``clean`` gets its ``rainy``, on the device the batch is on."""
        clean: Tensor = batch["clean"]
        first = int(batch["serial"][0])
        generator = seeded(self.seed, first)
        training = self.trainer is not None and self.trainer.training
        rainy, kinds = torch.empty_like(clean), len(self.renderers)
        # By the number alone, a photo in batches of one would meet the same kind in every epoch.
        turn = first
        if training and kinds > 1:
            turn = int(torch.randint(kinds, (), generator=generator))
        for kind, renderer in enumerate(self.renderers):
            part = slice((kind - turn) % kinds, None, kinds)
            renderer.p = 1 - self.dry_rate if training else 1.0
            if len(clean[part]):
                with torch.no_grad():
                    rainy[part] = renderer(clean[part], generator=generator).rainy
        return {**batch, "rainy": rainy, "clean": clean}


def _textures(root: str) -> RainTextures:
    return RainTextures([(pair.rainy, pair.clean) for pair in find_pairs(root).pairs])
