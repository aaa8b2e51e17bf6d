"""``raincleave synthesize`` as people type it."""

import json
import os
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raincleave.cli import run
from raincleave.data.layouts import find_pairs, scan


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        coarse = np.random.default_rng(number).integers(40, 180, (6, 7, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((48, 40), Image.Resampling.BICUBIC)
        image.save(folder / f"{number}.jpg", quality=95)
    return folder


def _contents(root: Path):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def _synthesize(photos, out, *options):
    return run(["synthesize", str(photos), str(out), *options])


def test_makes_a_dataset_that_is_read_back(photos, tmp_path, capsys):
    assert _synthesize(photos, tmp_path / "out", "--per-image", "2") == 0
    assert "wrote 6 pairs" in capsys.readouterr().out
    found = find_pairs(tmp_path / "out")
    assert [pair.name for pair in found.pairs] == ["0-1", "0-2", "1-1", "1-2", "2-1", "2-2"]
    clean, rainy = (
        np.asarray(Image.open(p.path), int) for p in (found.pairs[0][2], found.pairs[0][1])
    )
    assert np.array_equal(clean, np.asarray(Image.open(photos / "0.jpg")))
    assert (rainy >= clean).mean() > 0.99  # heavy rain only adds light
    assert (rainy - clean).mean() > 2
    other = np.asarray(Image.open(found.pairs[1].rainy.path), int)
    assert not np.array_equal(rainy, other)


def test_bytes_follow_the_seed_alone(photos, tmp_path):
    _synthesize(photos, tmp_path / "a")
    _synthesize(photos, tmp_path / "b", "--workers", "2")
    _synthesize(photos, tmp_path / "c", "--seed", "1")
    first = _contents(tmp_path / "a")
    assert len(first) == 7
    assert first == _contents(tmp_path / "b")
    assert first["rainy/0.png"] != _contents(tmp_path / "c")["rainy/0.png"]


def test_goes_on_where_it_stopped(photos, tmp_path, capsys):
    _synthesize(photos, tmp_path / "out")
    whole = _contents(tmp_path / "out")
    (tmp_path / "out/clean/1.png").unlink()
    kept = (tmp_path / "out/rainy/2.png").stat().st_mtime_ns
    assert _synthesize(photos, tmp_path / "out") == 0
    assert "wrote 1 pairs" in capsys.readouterr().out.splitlines()[-1]
    assert _contents(tmp_path / "out") == whole
    assert (tmp_path / "out/rainy/2.png").stat().st_mtime_ns == kept


def test_other_settings_are_not_mixed(photos, tmp_path, capsys):
    _synthesize(photos, tmp_path / "out")
    assert _synthesize(photos, tmp_path / "out", "--preset", "light") == 1
    assert "was begun with preset heavy, seed 0, per_image 1" in capsys.readouterr().err


def test_a_broken_photo_does_not_stop_the_rest(photos, tmp_path, capsys):
    (photos / "1.jpg").write_bytes(b"no image")
    assert _synthesize(photos, tmp_path / "out") == 1
    told = capsys.readouterr()
    assert "1.jpg is not an image" in told.err
    assert "wrote 2 pairs" in told.out
    assert len(find_pairs(tmp_path / "out").pairs) == 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--preset", "hevy"], "there is no rain 'hevy'"),
        (["--workers", "0"], "must be at least 1"),
    ],
)
def test_refusals(photos, tmp_path, capsys, options, told):
    assert _synthesize(photos, tmp_path / "out", *options) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_place_that_will_not_do_is_told(photos, tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    assert _synthesize(photos, tmp_path / "file") == 1
    assert "file can be no folder for the pairs (" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    (tmp_path / "out/synthesis.json").touch()
    assert _synthesize(photos, tmp_path / "out") == 1
    assert "synthesis.json is damaged; delete it" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["clean", "rainy"])
def test_photos_are_not_written_among(photos, tmp_path, capsys, part):
    photos.rename(tmp_path / part)
    before = {path: path.read_bytes() for path in (tmp_path / part).iterdir()}
    assert _synthesize(tmp_path / part, tmp_path) == 1
    assert f"{tmp_path / part} holds the photos" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / part).iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == [part]


@pytest.mark.parametrize("part", ["clean", "rainy"])
def test_pictures_of_others_are_neither_replaced_nor_counted(photos, tmp_path, capsys, part):
    (tmp_path / "own" / part).mkdir(parents=True)
    own = tmp_path / "own" / part / "0.png"
    own.write_bytes(b"genuine rain")
    assert _synthesize(photos, tmp_path / "own") == 1
    assert f"{own.parent} holds files of others already" in capsys.readouterr().err
    assert own.read_bytes() == b"genuine rain"
    assert [path for path in (tmp_path / "own").rglob("*") if path.is_file()] == [own]


def test_a_killed_worker_is_told(photos, tmp_path, capsys, monkeypatch):
    class Broken:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def map(self, *_):
            yield ""
            raise BrokenProcessPool("terminated abruptly")

    monkeypatch.setattr("raincleave.commands.synthesize.ProcessPoolExecutor", Broken)
    assert _synthesize(photos, tmp_path / "out", "--workers", "2") == 1
    assert "ended from outside, probably for want of memory" in capsys.readouterr().err


def test_photos_that_would_collide(photos, tmp_path, capsys):
    Image.new("RGB", (48, 40)).save(photos / "1.png")
    assert _synthesize(photos, tmp_path / "out") == 1
    assert "would have the same name" in capsys.readouterr().err
    assert _synthesize(tmp_path / "nowhere", tmp_path / "out") == 1
    assert "There is no folder" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all names are Unicode")
def test_a_name_that_no_terminal_can_write(photos, tmp_path):
    odd = os.fsdecode(b"caf\xe9")
    (photos / "0.jpg").rename(photos / f"{odd}.jpg")
    out, scores, table = tmp_path / "out", tmp_path / "scores.json", tmp_path / "scores.csv"
    environment = {
        **os.environ,
        "PYTHONIOENCODING": "ascii",
        "PL_FIT__TRAINER__FAST_DEV_RUN": "1",
    }
    for command in (
        ["synthesize", photos, out],
        ["fit", "--data=SyntheticRain", f"--data.root={photos}", "--data.patch_size=16"],
        ["check-data", out, "--against", out, "--exclude-list", tmp_path / "list.txt"],
        ["evaluate", "--root", out, "--json", scores, "--csv", table, "--keep-going"],
    ):
        if "evaluate" in command:
            (out / f"rainy/{odd} too.png").write_bytes((out / f"rainy/{odd}.png").read_bytes())
        done = subprocess.run(
            [sys.executable, "-m", "raincleave", *map(str, command)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == ("evaluate" in command), done.stderr
        assert "Traceback" not in done.stderr
    assert odd in {pair.name for pair in scan(out).pairs}
    assert odd in (tmp_path / "list.txt").read_text("utf-8", "surrogateescape").split()
    (failure,) = json.loads(scores.read_text("utf-8"))["failures"]
    assert odd in failure
    assert odd in table.read_text("utf-8", "surrogateescape")
