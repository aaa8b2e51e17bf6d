import json

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
    assert run(["models"]) == 0
    header, brn, drn = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["name", "parameters", "size"]
    assert " ".join(brn.split()) == "brn-6 10,595 47 kB not measured Apache-2.0 hf://me/brn"
    figures = "Rain100H 26.99 / 0.861 (13.55 / 0.379), csdwren"
    assert " ".join(drn.split()) == f"drn-7x7 10,595 47 kB {figures} Apache-2.0 missing"


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
