"""The benchmark table of a tiny dataset, twice."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from raincleave.models import DRN

SCRIPT = Path(__file__).parents[2] / "examples" / "benchmark_table.py"


def build(root, offset):
    for number in (1, 2, 3):
        clean = np.full((24, 30, 3), 40 * number, np.uint8)
        (root / "rainy").mkdir(parents=True, exist_ok=True)
        Image.fromarray(clean).save(root / f"norain-{number:03d}.png")
        Image.fromarray(clean + np.uint8(offset)).save(root / "rainy" / f"rain-{number:03d}.png")


def test_the_table_holds_ours_and_the_published_rows_and_is_reproducible(tmp_path, monkeypatch):
    for name, offset in (("Rain100H", 51), ("Rain100L", 10)):
        build(tmp_path / "sets" / name, offset)
    torch.manual_seed(0)
    model = tmp_path / "mine.safetensors"
    DRN(stages=1, recursions=1, res_blocks=1, channels=2).save(model)
    tables = []
    for output in ("table.first", "table.second"):
        args = [tmp_path / "sets", "-o", tmp_path / output, "--models", model]
        monkeypatch.setattr(sys, "argv", ["benchmark_table.py", *map(str, args)])
        runpy.run_path(str(SCRIPT), run_name="__main__")
        tables.append([(tmp_path / f"{output}.{kind}").read_text() for kind in ("md", "json")])
    assert tables[0] == tables[1]
    lines = tables[0][0].splitlines()
    assert "protocol csdwren, float32 on cpu; raincleave" in lines[0]
    # 51 of 255 levels, of which luma has 219: 20 log10(255 / 43.8); and 10: 20 log10(255 / 8.588).
    (row,) = [line for line in lines if line.startswith("| rainy input")]
    assert "15.30 / " in row
    assert "29.45 / " in row
    assert any(line.startswith("| **mine.safetensors** | ") for line in lines)
    assert "| DRN 7×7, published | 10,595 | 26.99 / 0.861 | 35.74 / 0.970 |  |" in lines


def test_one_image_that_equals_its_truth_does_not_speak_for_all():
    cell = runpy.run_path(str(SCRIPT))["cell"]
    assert cell({"stages": [], "input": {"psnr": None, "ssim": 0.36}}) == "inf / 0.360"


def test_a_place_that_will_not_do_is_told_first(tmp_path, monkeypatch):
    args = ["benchmark_table.py", str(tmp_path), "-o", str(tmp_path / "nowhere/table")]
    monkeypatch.setattr(sys, "argv", args)
    with pytest.raises(SystemExit, match="there is no folder"):
        runpy.run_path(str(SCRIPT), run_name="__main__")
