"""The DataModules: which images train, validate, test and predict, and in which batches."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from raincleave.data.layouts import find_pairs
from raincleave.data.pairs import CleanImages, EpochSampler, ImagePatches, image_files
from raincleave.data.synthesis import RainRenderer
from raincleave.data.textures import RainTextures
from raincleave.errors import DataError


def split_scenes(scenes: Sequence[str], fraction: float, seed: int) -> set[str]:
    """The scenes held out for validation.

    The choice depends on the scenes' names and the seed alone: adding an image moves no other.

    Args:
        scenes: scene of each image, repeated at will.
        fraction: share of the scenes to hold out, in [0, 1); at least one unless it is 0.
        seed: another seed, other scenes.
    """
    distinct = set(scenes)
    count = min(len(distinct) - 1, max(1, round(fraction * len(distinct)))) if fraction else 0
    ranked = sorted(distinct, key=lambda s: hashlib.sha256(f"{seed}/{s}".encode()).digest())
    return set(ranked[:count])


class RainDataModule(LightningDataModule):
    """What all share: loaders, split, seeds. A member says where its images come from.

    Training yields augmented patches; validation, test and prediction yield whole images, one at
    a time. A batch is ``{"rainy": (B,3,H,W), "clean": (B,3,H,W), "name": list[str]}``, RGB float32
    in [0, 1].

    Args:
        root: folder of the dataset, or several.
        batch_size: training patches a step, on each device.
        patch_size: side of the training patches in pixels.
        stride: cut a fixed grid with this step, as the papers did, instead of random crops.
        patches_per_epoch: random crops an epoch; by default one for each image.
        val_fraction: share of the training scenes held out for validation.
        num_workers: processes that read images.
        cache: keep the images in RAM as uint8; by default if they fit in 2 GiB.
        seed: of split, order, crops, flips, turns and rain.
    """

    def __init__(
        self,
        root: str | Path | list[str],
        *,
        batch_size: int = 16,
        patch_size: int = 100,
        stride: int | None = None,
        patches_per_epoch: int | None = None,
        val_fraction: float = 0.1,
        num_workers: int = 2,
        cache: bool | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.roots = [Path(part) for part in (root if isinstance(root, list) else [root])]
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.val_fraction = val_fraction
        self.patching: dict[str, Any] = {
            "patch_size": patch_size,
            "stride": stride,
            "patches_per_epoch": patches_per_epoch,
            "augment": True,
            "cache": cache,
            "seed": seed,
        }

    train_set: ImagePatches
    val_set: ImagePatches
    test_set: ImagePatches

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Shuffled patches; incomplete last batches are dropped."""
        trainer = self.trainer
        sampler = EpochSampler(
            self.train_set,
            num_replicas=trainer.world_size if trainer else 1,
            rank=trainer.global_rank if trainer else 0,
            shuffle=True,
            seed=self.seed,
            drop_last=True,
        )
        return self._loader(self.train_set, self.batch_size, sampler=sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Whole held-out images, one at a time."""
        return self._loader(self.val_set, 1)

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Whole test images, one at a time."""
        return self._loader(self.test_set, 1)

    def predict_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The test images."""
        return self._loader(self.test_set, 1)

    def _loader(self, images: ImagePatches, batch_size: int, **options: Any) -> DataLoader[Any]:
        return DataLoader(
            images,
            batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            **options,
        )


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
        **options: `RainDataModule`'s arguments.
    """

    def __init__(
        self,
        root: str | Path | list[str],
        preset: str | list[str] = "heavy",
        textures: str | None = None,
        texture_rate: float = 0.67,
        **options: Any,
    ) -> None:
        super().__init__(root, **options)
        names = [preset] if isinstance(preset, str) else preset
        layers = _textures(textures) if textures else None
        self.renderers = [
            RainRenderer(name)
            if layers is None or name == "light"
            else RainRenderer(name, textures=layers, texture_rate=texture_rate)
            for name in names
        ]

    def setup(self, stage: str) -> None:
        """Find the photos and hold out whole scenes."""
        photos = [photo for root in self.roots for photo in _photos(root)]
        if stage in ("fit", "validate"):
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
        generator = torch.Generator().manual_seed(self.seed << 32 ^ first)
        rainy, kinds = torch.empty_like(clean), len(self.renderers)
        for kind, renderer in enumerate(self.renderers):
            part = slice((kind - first) % kinds, None, kinds)
            if len(clean[part]):
                with torch.no_grad():
                    rainy[part] = renderer(clean[part], generator=generator).rainy
        return {**batch, "rainy": rainy, "clean": clean}


def _textures(root: str) -> RainTextures:
    return RainTextures([(pair.rainy.path, pair.clean.path) for pair in find_pairs(root).pairs])


def _photos(root: Path) -> list[Path]:
    if not root.is_dir():
        raise DataError(f"There is no folder {root}; give one that holds clean photos.")
    photos = image_files(root)
    if not photos:
        raise DataError(f"{root} holds no images; give a folder of PNG or JPEG photos.")
    return photos
