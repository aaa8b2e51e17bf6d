"""The example that measures the data loader runs, and its shares are shares."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "examples/data_wait.py"


def test_one_line_of_shares(tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("data_wait", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    sizes = ["--batch-size", "2", "--patch-size", "16", "--stages", "1"]
    options = ["--steps", "2", "--workers", "0", *sizes]
    monkeypatch.setattr(sys, "argv", ["data_wait.py", str(tmp_path), *options])
    module.main()
    (line,) = capsys.readouterr().out.splitlines()
    assert "a step of 2 patches of 16" in line
    waiting, rendering = (float(word[:-1]) for word in line.split() if word.endswith("%"))
    assert waiting > 0
    assert rendering > 0
    assert waiting + rendering < 100
