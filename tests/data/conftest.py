"""Tiny datasets in every layout: smooth scenes of 48x40, and the same under streaks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def make_scene(number: int, width: int = 48, height: int = 40) -> Pixels:
    """A smooth scene of its own for each number, (H, W, 3), between 40 and 180."""
    coarse = np.random.default_rng(number).integers(40, 180, (6, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def make_rainy(clean: Pixels, seed: int = 0) -> Pixels:
    """The scene under a few bright, slanted streaks, one pixel wide."""
    height, width = clean.shape[:2]
    row, column = np.mgrid[:height, :width]
    streaks = (column + row // 3 + seed) % 11 == 0
    return (clean + 60 * streaks[..., None]).clip(0, 255).astype(np.uint8)


def write_image(path: Path, pixels: Pixels) -> None:
    """Write an image, and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)


# (rainy file, clean file) of each pair, as published; the same file twice: side by side.
FILES: dict[str, list[tuple[str, str]]] = {
    "Rain100": [(f"rainy/rain-{k:03}.png", f"norain-{k:03}.png") for k in (1, 2, 3)],
    "RainTrain": [(f"rain-{k}.png", f"norain-{k}.png") for k in (1, 2, 10)],
    "Rain200": [(f"rain/norain-{k}x2.png", f"norain/norain-{k}.png") for k in (1, 2, 10)],
    "Rain200 X2": [(f"rain/X2/norain-{k}x2.png", f"norain/norain-{k}.png") for k in (1, 2, 3)],
    "Rain12": [(f"rainy/{k}.png", f"groundtruth/{k}.png") for k in (1, 2, 12)],
    "Rain12 GT": [(f"rainy/{k:03}_in.png", f"groundtruth/{k:03}_GT.png") for k in (1, 2, 12)],
    "Rain800": [(f"{k}.jpg", f"{k}.jpg") for k in (1, 2, 3)],
    "Rain800 folders": [(f"input/{k}.jpg", f"target/{k}.jpg") for k in (1, 2, 3)],
    "Rain1400": [
        (f"rainy_image/{k}_{i}.jpg", f"ground_truth/{k}.jpg")
        for k in (12, 13)
        for i in range(1, 15)
    ],
    "Rain1200": [
        (f"Rain_{density}/train2018new/{k}.jpg",) * 2
        for density in ("Heavy", "Light", "Medium")
        for k in (1, 2)
    ],
    "SPA list": [(f"real_test/rain/{k}.png", f"real_test/gt/{k}gt.png") for k in ("a", "b", "c")],
    "SPA numbers": [(f"{k:03}.png", f"{k:03}gt.png") for k in (0, 1, 2)],
    "Rain13K": [(f"input/{k}.png", f"target/{k}.png") for k in (1, 2, 3)],
    "own folders": [(f"lq/street {k}.png", f"ground_truth/street {k}.jpg") for k in "abc"],
}


def build_layout(root: Path, case: str, rainy_left: bool = False) -> list[tuple[str, str]]:
    """Write a dataset, one scene a clean file, and return its (rainy file, clean file)."""
    pairs = FILES[case]
    scenes = {clean: number for number, clean in enumerate(dict.fromkeys(c for _, c in pairs))}
    for number, (rainy, clean) in enumerate(pairs):
        scene = make_scene(scenes[clean])
        wet = make_rainy(scene, number)
        if rainy == clean:
            write_image(root / clean, np.hstack([wet, scene] if rainy_left else [scene, wet]))
        else:
            write_image(root / clean, scene)
            write_image(root / rainy, wet)
    if case == "SPA list":
        lines = [f"/{rainy} /{clean}\n" for rainy, clean in pairs]
        (root / "real_test_1000.txt").write_text("".join(lines))
    return pairs


@pytest.fixture
def build() -> Callable[..., list[tuple[str, str]]]:
    return build_layout


@pytest.fixture(params=FILES)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def scene() -> Callable[..., Pixels]:
    return make_scene


@pytest.fixture
def rainy() -> Callable[..., Pixels]:
    return make_rainy


@pytest.fixture
def write() -> Callable[[Path, Pixels], None]:
    return write_image
