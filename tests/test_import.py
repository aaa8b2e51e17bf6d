"""`import raincleave` and the command's help cost next to nothing: torch comes when it is used."""

import subprocess
import sys

import pytest

import raincleave

IMPORT = """
import sys, time
start = time.perf_counter()
import raincleave
print(time.perf_counter() - start)
heavy = {"torch", "lightning", "numpy", "PIL", "huggingface_hub", "kornia"} & set(sys.modules)
assert not heavy, heavy
assert "load" in dir(raincleave)
"""
RUN = """
import sys
from raincleave.cli import run
code = run(sys.argv[1:])
assert "torch" not in sys.modules
sys.exit(code)
"""


def python(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


def test_the_import_is_light_and_quick():
    runs = [python(IMPORT) for _ in range(3)]
    assert [run.stderr for run in runs] == [""] * 3
    assert min(float(run.stdout) for run in runs) < 0.2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--help"], "usage: raincleave COMMAND"),
        (["--version"], f"raincleave {raincleave.__version__}"),
        (["models", "--help"], "everything known, as JSON"),
        (["models", "--json"], "{"),
        (["convert", "--help"], "which no file tells"),
        (["doctor", "--help"], "-h, --help"),
        (["derain", "--help"], "INPUT"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_help_and_lists_do_without_torch(arguments, said):
    result = python(RUN, *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    assert said in " ".join(result.stdout.split())


def test_every_public_name_is_there():
    for name in raincleave.__all__:
        assert getattr(raincleave, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        raincleave.lode  # noqa: B018
