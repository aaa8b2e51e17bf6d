"""What the tests of more than one folder share."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image


def scene(number: int) -> Image.Image:
    """A smooth scene of 48×40 of its own for each number."""
    coarse = np.random.default_rng(number).integers(40, 180, (6, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((48, 40), Image.Resampling.BICUBIC)


def rained_on(clean: Image.Image) -> Image.Image:
    pixels = np.asarray(clean).astype(int)
    row, column = np.mgrid[: clean.height, : clean.width]
    pixels += 60 * ((column + row // 3) % 11 < 5)[..., None]  # heavy, as Rain100H
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def little_world(tmp_path_factory) -> Path:
    """A folder with small files of every name that README and guides speak of."""
    from test_upstream import drn

    world = tmp_path_factory.mktemp("world")
    pictures = {"photo.jpg": scene(90), "huge.png": scene(91).resize((96, 80))}
    pictures |= {f"photos/{k}.png": scene(80 + k) for k in (1, 2)}
    pictures |= {f"clean_photos/{k}.png": scene(70 + k) for k in range(4)}
    for k in (1, 2, 3):  # the first of RainTrainH show scenes of Rain100H
        pictures[f"Rain100H/norain-{k:03}.png"] = scene(k)
        pictures[f"Rain100H/rainy/rain-{k:03}.png"] = rained_on(scene(k))
    for k in range(1, 6):
        pictures[f"RainTrainH/norain-{k}.png"] = scene(k + 1)
        pictures[f"RainTrainH/rain-{k}.png"] = rained_on(scene(k + 1))
        pictures[f"my_pairs/clean/{k}.png"] = wide = scene(40 + k).resize((72, 66))
        pictures[f"my_pairs/rainy/{k}.png"] = rained_on(wide)
    pictures |= {"clean/1.png": scene(1), "finished/1.png": rained_on(scene(1))}
    for name, picture in pictures.items():
        (world / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(world / name)
    torch.save(drn(), world / "authors_drn.pth")
    return world
