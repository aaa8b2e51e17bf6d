import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import compare_rain

from raincleave.data.synthesis import RainRenderer
from raincleave.models import DRN


def test_directions_find_the_slant():
    renderer = RainRenderer("light", generator=torch.Generator().manual_seed(0))
    straight = {"spread": (0, 0), "length": (30, 30), "width": (0.7, 0.7), "cover": (0.3, 0.3)}
    upright = renderer.with_(slant=(0, 0), **straight)
    leaning = upright.with_(slant=(35, 35))
    for rain, middle in ((upright, (-10, 10)), (leaning, (30, 40))):
        r = rain(torch.zeros(1, 3, 160, 160)).rain[0, 0] * 255
        shares = compare_rain.directions(r, torch.ones_like(r, dtype=torch.bool))
        inside = [k for k in range(18) if middle[0] <= -90 + 10 * k < middle[1]]
        assert int(shares.argmax()) in inside
        assert compare_rain.concentration(shares) > 0.5


def test_the_script_compares_and_draws(tmp_path, capsys, monkeypatch):
    random = np.random.default_rng(0)
    for number in range(1, 7):
        clean = random.integers(0, 120, (48, 40, 3), dtype=np.uint8)
        rainy = clean.astype(int)
        rainy[:, 10 + number] += 60
        Image.fromarray(clean).save(tmp_path / f"norain-{number}.png")
        Image.fromarray(rainy.astype(np.uint8)).save(tmp_path / f"rain-{number}.png")
    DRN(stages=1, recursions=1).save(tmp_path / "net.safetensors")
    arguments = [tmp_path, "--renders", "2", "--sheet", tmp_path / "sheet.png"]
    arguments += ["--judge", tmp_path / "net.safetensors", "--judged-size", "32"]
    monkeypatch.setattr(sys, "argv", ["compare_rain.py", *map(str, arguments)])
    compare_rain.main()
    table = capsys.readouterr().out
    assert "| 6 pairs | genuine | rendered | difference |" in table
    # One column of 40 was made brighter by 60.
    assert f"| mean R | {60 / 40:.2f} |" in table
    assert f"| rainy pixels, % | {100 / 40:.2f} |" in table
    assert "| net, dB |" in table
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (2 * 3 * 40 + 10, 4 * 48)


def test_rain_on_photographs_alone_is_measured(tmp_path, capsys, monkeypatch):
    for number in range(3):
        Image.new("RGB", (80, 60), (60, 80, 100)).save(tmp_path / f"{number}.png")
    arguments = [str(tmp_path), "--photos", "--preset", "light", "--renders", "2"]
    monkeypatch.setattr(sys, "argv", ["compare_rain.py", *arguments])
    compare_rain.main()
    table = capsys.readouterr().out
    assert "| 3 photographs | rendered |" in table
    rows = dict(line.strip("| ").split(" | ") for line in table.splitlines()[2:])
    assert 1 < float(rows["mean R"]) < 30
    assert 0.5 < float(rows["input SSIM (csdwren)"]) < 1


def test_a_saturated_pixel_is_left_out():
    clean = torch.full((3, 2, 2), 200, dtype=torch.uint8)
    rainy = torch.tensor([255, 230, 200, 210], dtype=torch.uint8).view(1, 2, 2).repeat(3, 1, 1)
    r, known = compare_rain.layer(rainy, clean)
    assert known.tolist() == [[False, True], [True, True]]
    assert r[known].tolist() == [30, 0, 10]


def test_a_sheet_of_few_pairs(tmp_path):
    pairs = [(torch.zeros(3, 48, 40 + k, dtype=torch.uint8),) * 2 for k in range(2)]
    compare_rain.sheet(pairs, pairs, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (2 * 3 * 41 + 10, 4 * 48)
