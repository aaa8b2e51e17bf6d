"""Tiny networks and pictures for the tests of the page."""

import numpy as np
import pytest
import torch
from PIL import Image

from raincleave.models import BRN, DRN


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Two files of weights: a DRN of three stages, a BRN of two, which estimates rain."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    DRN(stages=3, recursions=1, res_blocks=1, channels=4).save(folder / "three.safetensors")
    BRN(stages=2).save(folder / "two.safetensors")
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of pictures, of names that say what they are."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (40, 48, 3), np.uint8)
    Image.fromarray(colour).save(folder / "one.png")
    Image.fromarray(255 - colour[:, :32]).save(folder / "other.png")
    exif = Image.Exif()
    exif[0x010E] = "a wet street"
    deep = Image.fromarray(rng.integers(0, 65536, (40, 48), np.uint16))
    deep.save(folder / "deep.png", exif=exif)
    alpha = rng.integers(0, 256, (40, 48, 1), np.uint8)
    Image.fromarray(np.concatenate([colour, alpha], 2)).save(folder / "clear.png")
    Image.fromarray(rng.integers(0, 256, (200, 600, 3), np.uint8)).save(folder / "wide.png")
    Image.fromarray(colour).save(
        folder / "moving.gif", save_all=True, append_images=[Image.fromarray(255 - colour)]
    )
    (folder / "notes.png").write_text("no picture")
    (folder / "cut.png").write_bytes((folder / "one.png").read_bytes()[:2000])
    return folder
