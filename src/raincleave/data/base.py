"""What the DataModules share: loaders, seeds, and a split that divides no scene."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning import LightningDataModule
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch.utils.data import DataLoader

from raincleave.data.pairs import EpochSampler, ImagePatches, mixed
from raincleave.errors import ConfigError, DataError

T = TypeVar("T")


def _check_number(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{name} is {value}; it must be at least {least}.")


def split_scenes(scenes: Sequence[str], fraction: float, seed: int) -> set[str]:
    """The scenes held out for validation.

    The choice depends on the scenes' names and the seed alone, not on their order. An added scene
    moves one other at most.

    Args:
        scenes: scene of each image, repeated at will.
        fraction: share of the scenes to hold out, in [0, 1); at least one unless it is 0.
        seed: another seed, other scenes.

    Examples:
        >>> split_scenes(["street", "garden", "street", "quay", "field"], 0.25, seed=0)
        {'street'}
    """
    distinct = set(scenes)
    count = min(len(distinct) - 1, max(1, round(fraction * len(distinct)))) if fraction else 0
    ranked = sorted(distinct, key=lambda s: mixed(seed, s))
    return set(ranked[:count])


class _LateLoader(DataLoader[Any]):
    """Starts its workers at the first batch asked for.

    Lightning makes the iterator of a resumed run before it has restored which epoch and batch that
    run was at; workers started then would begin with the first batches of the first epoch.
    """

    def __iter__(self) -> Any:
        yield from super().__iter__()


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
        exclude: a text file with names of images to leave out of training and validation, one a
            line, as ``raincleave check-data --exclude-list`` writes it.
        augment: mirror training patches at random and turn them by halves, clean ones by quarters;
            of the papers none tells that it did.

    Raises:
        ConfigError: an argument makes no sense.
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
        exclude: str | None = None,
        augment: bool = True,
    ) -> None:
        super().__init__()
        self.roots = [Path(part) for part in (root if isinstance(root, list) else [root])]
        if not self.roots:
            raise ConfigError("root names no folder; give at least one.")
        _check_number("batch_size", batch_size, 1)
        _check_number("patches_per_epoch", patches_per_epoch or 1, 1)
        _check_number("num_workers", num_workers, 0)
        if not 0 <= seed < 2**31:
            raise ConfigError(f"seed is {seed}; it must be from 0 to {2**31 - 1}.")
        if not 0 <= val_fraction < 1:
            raise ConfigError(f"val_fraction is {val_fraction}; it must be at least 0 and below 1.")
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.val_fraction, self.exclude = val_fraction, exclude
        self.patching: dict[str, Any] = {
            "patch_size": patch_size,
            "stride": stride,
            "patches_per_epoch": patches_per_epoch,
            "augment": augment,
            "cache": cache,
            "seed": seed,
        }

    train_set: ImagePatches
    val_set: ImagePatches
    test_set: ImagePatches

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Shuffled patches; a resumed epoch goes on where it was left.

        Incomplete last batches are dropped, but for a set that does not fill a single one.
        """
        trainer = self.trainer
        replicas = trainer.world_size if trainer else 1
        drop_last = len(self.train_set) >= self.batch_size * replicas
        sampler = EpochSampler(
            self.train_set,
            num_replicas=replicas,
            rank=trainer.global_rank if trainer else 0,
            shuffle=True,
            seed=self.seed,
            drop_last=drop_last,
        )
        sampler.done = self._items_done
        options = self._options | {"sampler": sampler, "drop_last": drop_last}
        return _LateLoader(self.train_set, batch_size=self.batch_size, **options)

    def _items_done(self) -> int:
        """Patches of the current epoch that this rank had before the run was resumed.

        Who asks outside a training, after it for instance, is given the whole epoch.
        """
        if self.trainer is None or not self.trainer.training:
            return 0
        return self.trainer.fit_loop.epoch_loop.batch_progress.current.ready * self.batch_size

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Whole held-out images, one at a time."""
        return self._loader(self.val_set)

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Whole test images, one at a time."""
        return self._loader(self.test_set)

    def predict_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The test images."""
        return self._loader(self.test_set)

    def _loader(self, images: ImagePatches) -> DataLoader[Any]:
        trainer, sampler = self.trainer, None
        # Lightning's own choice repeats images where they do not divide evenly, and so counts some
        # of them twice. With an image short for every process it has to be that way.
        if trainer and not trainer.predicting and 1 < trainer.world_size <= len(images):
            ranks = {"num_replicas": trainer.world_size, "rank": trainer.global_rank}
            sampler = UnrepeatedDistributedSampler(images, shuffle=False, **ranks)
        # By keyword, since Lightning rebuilds the loader for prediction.
        return DataLoader(images, batch_size=1, sampler=sampler, **self._options)

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "pin_memory": torch.cuda.is_available(),
        }

    def _without_excluded(self, images: list[T], name: Callable[[T], str]) -> list[T]:
        """``images`` less those whose name stands in the ``exclude`` file."""
        if self.exclude is None:
            return images
        try:
            # A name that is no UTF-8 may be a file's; of a list in another encoding it is none.
            names = set(Path(self.exclude).read_text("utf-8", "surrogateescape").split("\n"))
            for stranger in names - {name(image) for image in images}:
                stranger.encode()
        except (OSError, UnicodeError) as error:
            raise DataError(f"The list {self.exclude} cannot be read ({error}).") from error
        kept = [image for image in images if name(image) not in names]
        if len(kept) == len(images):
            raise DataError(f"No image of {self.roots[0]} is named in {self.exclude}.")
        if not kept:
            raise DataError(f"All images of {self.roots[0]} are named in {self.exclude}.")
        return kept
