"""``raincleave check-data`` as people type it."""

import json

import numpy as np
import pytest
from PIL import Image

from raincleave.cli import run


def _scene(number):
    coarse = np.random.default_rng(number).integers(40, 180, (6, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((96, 72), Image.Resampling.BICUBIC))


def _dataset(root, scenes, crop=0):
    for number, shown in enumerate(scenes):
        clean = _scene(shown)[crop:, crop:]
        (root / "rainy").mkdir(parents=True, exist_ok=True)
        Image.fromarray(clean).save(root / f"norain-{number:03}.png")
        Image.fromarray(clean + 50).save(root / f"rainy/rain-{number:03}.png")
    return str(root)


def test_a_sound_dataset(tmp_path, capsys):
    assert run(["check-data", _dataset(tmp_path, (1, 2, 2))]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"{tmp_path}: Rain100H"
    assert told[2].split() == ["pairs", "3,", "of", "2", "scenes"]
    assert told[3].split() == ["sizes", "96x72", "(3)"]
    assert told[4].split() == ["mean", "rain", "50.0", "of", "255"]
    assert told[5].split() == ["problems", "none"]
    assert told[6:] == ["  duplicates  1", "    rain-001 = rain-002"]


def test_broken_files_are_named(tmp_path, capsys):
    root = _dataset(tmp_path, (1, 2, 3))
    (tmp_path / "rainy/rain-001.png").write_bytes(b"")
    (tmp_path / "norain-002.png").unlink()
    assert run(["check-data", root]) == 1
    told = capsys.readouterr().out
    assert "problems    2" in told
    assert "rain-001.png is empty (0 bytes)" in told
    assert "rain-002.png has no clean partner" in told


def test_overlap_and_the_list_to_exclude(tmp_path, capsys):
    train = _dataset(tmp_path / "train", (1, 2, 3, 4))
    test = _dataset(tmp_path / "test", (9, 4, 2), crop=1)
    listed = tmp_path / "exclude.txt"
    assert run(["check-data", train, "--against", test, "--exclude-list", str(listed)]) == 0
    assert listed.read_text() == "rain-001\nrain-003\n"
    told = capsys.readouterr().out
    assert "2 of 4 pairs of the first show scenes of 2 of the second" in told
    assert "    rain-001 = rain-002\n    rain-003 = rain-001\n" in told


def test_no_overlap(tmp_path, capsys):
    first, second = _dataset(tmp_path / "a", (1, 2)), _dataset(tmp_path / "b", (3,))
    assert run(["check-data", first, "--against", second]) == 0
    assert f"{first} and {second} share no scene." in capsys.readouterr().out


def test_a_folder_of_datasets_as_json(tmp_path, capsys):
    _dataset(tmp_path / "a", (1, 2))
    _dataset(tmp_path / "b", (2, 3))
    assert run(["check-data", str(tmp_path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [data["pairs"] for data in report["datasets"]] == [2, 2]
    assert report["datasets"][0]["sizes"] == {"96x72": 2}
    (overlap,) = report["overlaps"]
    assert overlap["matches"] == [["rain-001", "rain-000"]]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "There is no folder nowhere"),
        ([".", "--exclude-list", "x"], "--exclude-list needs --against"),
    ],
)
def test_refusals(tmp_path, capsys, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    assert run(["check-data", *arguments]) == 1
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
