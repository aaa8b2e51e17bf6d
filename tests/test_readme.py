"""Every command and snippet of the README, run as printed beside files of the names in it."""

import re
import shutil
from pathlib import Path

import pytest

from inference.test_video import make
from raincleave.cards import checkpoint_table
from raincleave.hub import checkpoints
from snippets import blocks, commands, run_command, run_python

README = Path(__file__).parents[1] / "README.md"
# What `.ci/run` or another test does: installing, this very suite, a page that stays open.
ELSEWHERE = re.compile(r"^(pip install [^&]*|pytest|raincleave app)$")
COMMANDS = [command for block in blocks(README, "console") for command in commands(block)]


@pytest.fixture
def beside_the_readme(little_world, tmp_path, monkeypatch):
    """The checkout's examples and a user's files."""
    shutil.copytree(little_world, tmp_path, dirs_exist_ok=True)
    (tmp_path / "examples").mkdir()
    shutil.copy(README.parent / "examples" / "rainy.png", tmp_path / "examples")
    shutil.copy(tmp_path / "authors_drn.pth", tmp_path / "AUTHORS.pth")
    make(tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    # A training of one step is a training; `raincleave fit` takes this from the environment.
    monkeypatch.setenv("PL_FIT__TRAINER__FAST_DEV_RUN", "true")


def parts(command: str) -> list[str]:
    return [part.strip() for part in re.sub(r"\s+#.*", "", command).split("&&")]


def weight(command: str):
    # An export is checked at three sizes; bench times the papers' way of running a network, too.
    slow = "bench" in command or "export" in command
    return pytest.param(command, marks=pytest.mark.slow if slow else ())


@pytest.mark.parametrize("command", [weight(command) for command in COMMANDS])
def test_a_command_runs_as_printed(command, beside_the_readme):
    for part in parts(command):
        if not ELSEWHERE.match(part):
            run_command(part)


def test_the_first_command_writes_what_it_says(beside_the_readme):
    run_command(parts(COMMANDS[0])[1])
    assert re.search(r"# writes (\S+)", COMMANDS[0])[1] == "examples/rainy.derained.png"
    assert Path("examples/rainy.derained.png").is_file()


def test_the_python_runs_as_printed(beside_the_readme):
    names = {}
    for block in blocks(README, "python"):
        run_python(block, names)
    assert Path("clean.png").is_file()


def test_every_block_is_run():
    assert {block.language for block in blocks(README)} == {"console", "python"}


def test_the_table_of_checkpoints_is_the_printed_one():
    assert checkpoint_table(checkpoints()) in README.read_text("utf-8")
