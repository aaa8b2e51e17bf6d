import json
import subprocess
import sys
from pathlib import Path

import pytest

import raincleave.hub
from raincleave.cli import run

ENTRY = {
    "architecture": "DRN",
    "arguments": {"stages": 7},
    "file": "none.safetensors",
    "sha256": "ab" * 32,
    "size": 46_800,
    "parameters": 10_595,
    "licence": "Apache-2.0",
    "figures": [
        {
            "dataset": "Rain100H",
            "protocol": "csdwren",
            "images": 100,
            "input_psnr": 13.551,
            "input_ssim": 0.3791,
            "psnr": 26.994,
            "ssim": 0.8612,
        }
    ],
}


@pytest.fixture
def table(monkeypatch):
    entries = {"drn-7x7": ENTRY, "brn-6": {**ENTRY, "figures": [], "hub": {"repo": "me/brn"}}}
    monkeypatch.setattr(raincleave.hub, "checkpoints", lambda: entries)
    monkeypatch.setenv("COLUMNS", "200")
    return entries


def test_the_table_shows_each_checkpoint(table, capsys):
    table["drn-7x7.real"] = {**ENTRY, "licence": "MIT"}
    assert run(["models"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "name for parameters size Rain100H",
        "rainy input 13.55 / 0.379",
        "brn-6 everyday 10,595 47 kB",
        "drn-7x7 everyday 10,595 47 kB 26.99 / 0.861",
        "drn-7x7.real photos 10,595 47 kB 26.99 / 0.861",
        "",
        "PSNR / SSIM on the test sets, protocol csdwren.",
        "brn-6: hf://me/brn.",
        "drn-7x7: missing.",
        "drn-7x7.real: missing.",
        "Licence of the weights: Apache-2.0, MIT. `raincleave models NAME` tells what one was "
        "trained on, and those pictures' licences.",
    ]


def test_the_packaged_ones_fit_into_a_terminal_line_each(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["models"]) == 0
    table = capsys.readouterr().out.partition("\n\n")[0]
    assert len(table.splitlines()) == 2 + len(raincleave.hub.checkpoints())
    assert max(map(len, table.splitlines())) <= 80


def test_a_name_shows_its_card(table, capsys):
    table["drn-7x7"] = {**ENTRY, "training": {"data": "12 pairs", "licence": "for research"}}
    assert run(["models", "drn-7x7"]) == 0
    out = capsys.readouterr().out
    assert 'load("drn-7x7")' in out
    for fact in ("licence: for research", "data: 12 pairs", "26.99 dB / 0.861"):
        assert fact in out
    assert run(["models", "drn7x7"]) == 1
    assert "there is no model 'drn7x7'; the nearest are" in capsys.readouterr().err
    assert run(["models", __file__]) == 1
    assert f"{__file__} is none of the named checkpoints" in capsys.readouterr().err


def test_json_holds_everything(table, capsys):
    assert run(["models", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["drn-7x7"] == {**ENTRY, "where": "missing"}
    assert list(found) == ["brn-6", "drn-7x7"]


def test_no_checkpoints(monkeypatch, capsys):
    monkeypatch.setattr(raincleave.hub, "checkpoints", dict)
    assert run(["models"]) == 0
    assert capsys.readouterr().out == "no named checkpoints are installed\n"


def test_the_markdown_table_has_a_row_for_the_input_and_for_each_checkpoint(table, capsys):
    light = {**ENTRY["figures"][0], "dataset": "Rain100L", "input_psnr": 26.9, "psnr": 31.97}
    other = {**ENTRY["figures"][0], "protocol": "rgb", "dataset": "Rain12"}
    table["drn-7x7"] = {**ENTRY, "figures": [*ENTRY["figures"], light, other]}
    assert run(["models", "--markdown"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "| name | parameters | size | Rain100H | Rain100L |",
        "| --- | ---: | ---: | --- | --- |",
        "| *rainy input* |  |  | 13.55 / 0.379 | 26.90 / 0.379 |",
        "| `brn-6` | 10,595 | 47 kB |  |  |",
        "| `drn-7x7` | 10,595 | 47 kB | 26.99 / 0.861 | 31.97 / 0.861 |",
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk to be full")
def test_a_full_disk_is_told():
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "raincleave", "models"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode
    assert "raincleave: what was written does not fit; the disk is full.\n" in done.stderr
    assert "Traceback" not in done.stderr
