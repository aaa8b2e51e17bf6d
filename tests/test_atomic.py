"""Files whole or not at all, and what is left of those that a killed process wrote."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from raincleave import atomic
from raincleave.atomic import no_place_for, sweep, whole

KILLED = """
import os, signal, sys
from pathlib import Path
from raincleave.atomic import whole
with whole(Path(sys.argv[1])) as part:
    part.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_whole_or_as_it_was(tmp_path):
    path = tmp_path / "a.txt"
    with whole(path) as part:
        part.write_text("one")
        assert not path.exists()

    def fail():
        with whole(path) as part:
            part.write_text("two")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert path.read_text() == "one"
    assert names(tmp_path) == {"a.txt"}


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(
    "name",
    ["a.png", "no suffix", "two.dots [1].tif", "雨" * 83 + ".png", "x" * 255],
    ids=["plain", "no suffix", "dots", "long", "longest"],
)
def test_what_a_killed_process_left_is_swept(tmp_path, name):
    path = tmp_path / name
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert killed.returncode == -9
    (left,) = names(tmp_path)
    sweep([tmp_path / "other.png", tmp_path / "nowhere" / "a.png"])
    assert names(tmp_path) == {left}
    with whole(path) as part:
        part.write_text("at work")
        sweep([path])
        assert names(tmp_path) == {part.name}
    assert path.read_text() == "at work"


def test_those_who_share_a_folder_do_not_meet(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    with whole(path) as first, whole(path) as second:
        assert first != second, "threads"
        first.write_text("one")
        second.write_text("two")
        monkeypatch.setattr(atomic, "_host", lambda: "0" * 8)
        monkeypatch.setattr(atomic, "_runs", lambda pid: False)
        sweep([path])
        assert names(tmp_path) == {first.name, second.name}, "another computer's, at work"
        long_ago = time.time() - 2 * 24 * 3600
        os.utime(first, (long_ago, long_ago))
        sweep([path])
        assert names(tmp_path) == {second.name}
        first.write_text("one")
    assert path.read_text() == "one"
    assert names(tmp_path) == {"a.txt"}


def test_what_is_no_file_is_written_to_as_it_is(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit((tmp_path / "pipe").read_text)
        with whole(tmp_path / "pipe") as part:
            part.write_text("rain")
        assert read.result() == "rain"
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
    assert no_place_for(tmp_path / "pipe") is None
    assert no_place_for(tmp_path / "file.json") is None
    assert no_place_for(tmp_path) == "that is a folder; name a file in it."
    assert "there is no folder" in no_place_for(tmp_path / "none" / "file.json")


def test_a_folder_that_may_not_be_looked_into_is_not_swept(tmp_path, monkeypatch):
    def closed(self):
        raise PermissionError

    monkeypatch.setattr(Path, "iterdir", closed)
    sweep([tmp_path / "a.png"])
