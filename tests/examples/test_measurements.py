"""The measuring examples, on a tiny network."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from raincleave.models import DRN

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def tiny(tmp_path):
    torch.manual_seed(0)
    DRN(stages=2, recursions=2, channels=12).save(tmp_path / "tiny.safetensors")
    for folder in ("rainy", "clean"):
        (tmp_path / folder).mkdir()
        for k in range(2):
            pixels = (torch.rand(40, 50, 3) * 255).to(torch.uint8).numpy()
            Image.fromarray(pixels).save(tmp_path / folder / f"{k}.png")
    return tmp_path


def call(monkeypatch, name, *arguments):
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_halo(tiny, monkeypatch, capsys):
    halos = ["--tile", 16, "--halos", 0, 20]
    call(monkeypatch, "halo.py", tiny / "tiny.safetensors", tiny / "rainy", *halos)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("exact halo 20, 2 images, tiles of 16")
    none, exact = (float(line.split()[-2]) for line in lines[1:])
    assert none > 1
    assert exact < 3e-4


def test_fast_shift(tiny, monkeypatch, capsys):
    call(monkeypatch, "fast_shift.py", tiny / "tiny.safetensors", tiny / "rainy", tiny / "clean")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("2 images")
    assert float(lines[2].split()[-2]) < 8


def test_folders_that_do_not_pair_are_told(tiny, monkeypatch):
    (tiny / "clean" / "1.png").unlink()
    (tiny / "clean" / "notes.txt").write_text("not a picture")
    with pytest.raises(SystemExit, match="they hold 2 and 1 pictures"):
        call(
            monkeypatch, "fast_shift.py", tiny / "tiny.safetensors", tiny / "rainy", tiny / "clean"
        )


@pytest.mark.parametrize(
    ("length", "count", "taken"),
    [(99, 50, [0, 1, 3]), (50, 50, [0, 1, 2]), (100, 10, [0, 10, 20]), (2, 8, [0, 1])],
)
def test_images_are_taken_from_all_parts_of_a_folder(length, count, taken):
    evenly = runpy.run_path(str(EXAMPLES / "choosing.py"))["evenly"]
    found = evenly(range(length), count)
    assert found[:3] == taken
    assert len(found) == min(length, count)
    assert found[-1] >= length - 1 - length / count
    with pytest.raises(SystemExit, match="from 1 up, not 0"):
        evenly(range(length), 0)


def test_memory(tiny, monkeypatch):
    options = ["--sizes", "64x48", "128x96", "-o", tiny / "memory.csv"]
    options += ["--plot", tiny / "memory.png"]
    call(monkeypatch, "memory.py", tiny / "tiny.safetensors", *options)
    head, *rows = (tiny / "memory.csv").read_text().splitlines()
    assert head == "pixels,peak_mb,beside_the_picture_mb,seconds"
    assert [row.split(",")[0] for row in rows] == ["3072", "12288"]
    width, height = Image.open(tiny / "memory.png").size
    assert (width > 900, height) == (True, 560), "names stand beside the frame"


def test_memory_says_why_not(tiny, monkeypatch, capfd):
    with pytest.raises(SystemExit, match="64x48 was not measured"):
        call(monkeypatch, "memory.py", tiny / "nothing.safetensors", "--sizes", "64x48")
    assert "nothing.safetensors" in capfd.readouterr().err


def test_throughput(tiny, monkeypatch, capsys):
    options = ["--pictures", 9, "--sides", 20, 90]
    call(monkeypatch, "throughput.py", tiny / "tiny.safetensors", *options)
    wrote, _, share, same = capsys.readouterr().out.splitlines()
    assert wrote.startswith("wrote 9 of 9 pictures to ")
    assert float(share.split()[1].rstrip("%")) > 0
    assert same == "same files: True"


@pytest.mark.slow
def test_killed_and_resumed(tiny, monkeypatch, capsys):
    options = ["--pictures", 60, "--sides", 60, 300, "--kills", 5]
    call(monkeypatch, "throughput.py", tiny / "tiny.safetensors", *options)
    *_, killed, resumed = capsys.readouterr().out.splitlines()
    assert resumed == "resumed, same files: True"
    found = [int(n) for n in killed.removeprefix("killed with ").split(" results")[0].split(", ")]
    assert found == sorted(set(found))  # each went on where the one before had stopped
    assert 0 < found[-1] < 60
