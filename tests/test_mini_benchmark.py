"""A frozen benchmark of a dozen self-made pairs: every packaged checkpoint keeps its scores.

After packaging a checkpoint, or changing one on purpose, write its new scores with::

    python tests/test_mini_benchmark.py        # or of some only: ... drn-7x7 srn-6

and look at the difference before you commit ``tests/golden/mini_benchmark.json``.
"""

import json
import math
import random
import sys
from pathlib import Path

import pytest
import torch

from raincleave.evaluation import strict_float32
from raincleave.hub import checkpoints, list_models, load
from raincleave.metrics import psnr, ssim

GOLDEN = Path(__file__).parent / "golden" / "mini_benchmark.json"
HEIGHT, WIDTH, COUNT = 40, 48, 12


def dozen():
    """Rainy and clean, (12, 3, 40, 48) uint8; half light rain, half heavy.

    Integer arithmetic on ``random.random``, whose numbers no version of Python may change.
    """
    pairs = [scene(index, random.Random(index)) for index in range(COUNT)]
    return tuple(torch.tensor(part, dtype=torch.uint8) for part in zip(*pairs, strict=True))


def scene(index, rng):
    """Three slopes of colour with boxes on them, under straight streaks of even brightness."""

    def draw(*ranges):
        return [int(rng.random() * n) for n in ranges]

    slopes = [draw(3, 3, 90) for _ in "rgb"]
    boxes = [draw(HEIGHT, WIDTH, 25, 25, 120, 120, 120) for _ in range(5)]
    (slant,) = draw(5)
    heavy = index % 2 == 1
    rain = [[0] * WIDTH for _ in range(HEIGHT)]
    for _ in range(70 if heavy else 12):
        top, left, length, light = draw(HEIGHT, WIDTH, 35, 60 if heavy else 35)
        for step in range(length):
            rain[(top + step) % HEIGHT][(left + (slant - 2) * step // 4) % WIDTH] += 20 + light

    def level(row, column, colour):
        down, right, start = slopes[colour]
        value = 60 + start + (down - 1) * row + (right - 1) * column
        for top, left, high, wide, *paint in boxes:
            if top <= row < top + high and left <= column < left + wide:
                value = 40 + paint[colour]
        return min(255, max(0, value))

    grid = [[(row, column) for column in range(WIDTH)] for row in range(HEIGHT)]
    clean = [[[level(*spot, colour) for spot in line] for line in grid] for colour in range(3)]
    rainy = [
        [
            [min(255, plane[row][column] + rain[row][column]) for row, column in line]
            for line in grid
        ]
        for plane in clean
    ]
    return rainy, clean


def scores(test, clean):
    """Mean PSNR and SSIM under the csdwren protocol."""
    return [round(f(test, clean).mean().item(), 5) for f in (psnr, ssim)]


@torch.inference_mode()
def checkpoint_scores(name):
    rainy, clean = dozen()
    with strict_float32():
        return scores(load(name)(rainy.float() / 255), clean)


def test_the_pairs_themselves_are_unchanged():
    golden = json.loads(GOLDEN.read_text())
    assert scores(*dozen()) == pytest.approx(golden["input"], abs=1e-5)


def test_every_packaged_checkpoint_has_golden_scores():
    golden = json.loads(GOLDEN.read_text())["checkpoints"]
    assert sorted(golden) == list_models(), "run `python tests/test_mini_benchmark.py`"


@pytest.mark.parametrize("name", list_models())
def test_checkpoints_keep_their_scores(name):
    golden = json.loads(GOLDEN.read_text())["checkpoints"]
    assert name in golden, "run `python tests/test_mini_benchmark.py`"
    assert golden[name]["sha256"] == checkpoints()[name]["sha256"], "the weights have changed"
    decibels, similarity = checkpoint_scores(name)
    assert math.isclose(decibels, golden[name]["psnr"], abs_tol=5e-3)
    assert math.isclose(similarity, golden[name]["ssim"], abs_tol=2e-4)


def main():
    found = json.loads(GOLDEN.read_text())["checkpoints"] if sys.argv[1:] else {}
    for name in sys.argv[1:] or list_models():
        decibels, similarity = checkpoint_scores(name)
        sha256 = checkpoints()[name]["sha256"]
        found[name] = {"psnr": decibels, "ssim": similarity, "sha256": sha256}
        print(f"{name:24} {decibels:8.4f} {similarity:8.5f}")
    golden = {"input": scores(*dozen()), "checkpoints": dict(sorted(found.items()))}
    GOLDEN.write_text(json.dumps(golden, indent=2) + "\n")


if __name__ == "__main__":
    main()
