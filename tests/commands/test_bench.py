"""The bench command on a tiny network, and the figures it prints."""

import json
import os

import pytest
import torch
from PIL import Image

from raincleave.cli import run
from raincleave.commands import bench
from raincleave.inference import memory
from raincleave.models import DRN


@pytest.fixture
def weights(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "_MATMUL", 64)
    torch.manual_seed(0)
    DRN(stages=2, recursions=1, res_blocks=1, channels=12).save(tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def test_every_way_is_timed_and_compared(weights, tmp_path, capsys):
    Image.new("RGB", (7, 5), (10, 200, 30)).save(tmp_path / "rainy.png")
    figures = tmp_path / "bench.json"
    sizes = ["--sizes", "32x24", "40x8", "--repeats", "1"]
    extra = ["--image", str(tmp_path / "rainy.png"), "--json", str(figures)]
    assert run(["bench", str(weights), *sizes, *extra]) == 0
    rows = json.loads(figures.read_text())
    expected = [(s, w) for s in ("32x24", "40x8") for w in ("plain", "32", "fast")]
    assert [(row["size"], row["way"]) for row in rows] == expected
    for row in rows:
        width, height = map(int, row["size"].split("x"))
        seconds = row["milliseconds"] / 1e3
        assert row["megapixels_per_second"] == pytest.approx(width * height / 1e6 / seconds)
        assert row["share_of_matmul"] > 0
        if row["way"] == "plain":
            assert row["times_plain"] == 1
            assert row["worst_levels"] == 0
            assert row["psnr_to_float32"] is None, "JSON has no infinity"
        else:
            assert row["worst_levels"] < (0.01 if row["way"] == "32" else 8)
    assert "× plain" in capsys.readouterr().out.replace("\n", " ")


def test_without_plain(weights, tmp_path):
    figures = tmp_path / "bench.json"
    options = ["--against", "none", "--ways", "32", "--repeats", "1", "--sizes", "9x9"]
    assert run(["bench", str(weights), *options, "--json", str(figures)]) == 0
    (row,) = json.loads(figures.read_text())
    assert row["times_plain"] is None


def test_what_is_exact_does_not_depend_on_the_order(weights, tmp_path):
    figures = tmp_path / "bench.json"
    options = ["--against", "none", "--repeats", "1", "--sizes", "9x9", "--json", str(figures)]
    assert run(["bench", str(weights), *options, "--ways", "fast", "32"]) == 0
    rows = {row["way"]: row for row in json.loads(figures.read_text())}
    assert rows["32"]["worst_levels"] == 0
    assert run(["bench", str(weights), *options, "--ways", "fast"]) == 0
    (row,) = json.loads(figures.read_text())
    assert row["worst_levels"] is row["psnr_to_float32"] is None


def test_operations_are_those_of_the_convolutions():
    model = DRN(stages=2, recursions=3, res_blocks=1, channels=12)
    per_stage = 9 * (6 * 12 + 3 * 2 * 12 * 12 + 12 * 3)
    model.requires_grad_(False)
    assert bench._operations_per_pixel(model, None) == 2 * 2 * per_stage
    assert bench._operations_per_pixel(model, 1) == 2 * per_stage


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--sizes", "500"], "a size is WIDTHxHEIGHT, such as 500x500, not '500'"),
        (["--repeats", "0"], "--repeats is 0; it must be 1 or more."),
        (["--json", "nowhere/x.json"], "--json nowhere/x.json: there is no folder nowhere."),
        (["--ways", "tpu"], "there is no way 'tpu'; choose of 32, fast"),
    ],
)
def test_refused(weights, capsys, options, sentence):
    assert run(["bench", str(weights), *options]) == 1
    assert sentence in capsys.readouterr().err


def test_peak_bytes_of_a_known_allocation():
    peak = memory.peak_bytes(lambda: torch.ones(64 << 20, dtype=torch.uint8), torch.device("cpu"))
    if peak is None:
        pytest.skip("this system does not tell the peak")
    assert 60 << 20 < peak < 90 << 20


def test_a_plain_run_that_dies_is_told(weights, monkeypatch, capsys):
    monkeypatch.setattr(bench, "_serve_plain", os.abort)  # cannot be called with what it is given
    assert run(["bench", str(weights), "--repeats", "1", "--sizes", "9x9"]) == 1
    assert "the process that ran the plain network ended early" in capsys.readouterr().err
