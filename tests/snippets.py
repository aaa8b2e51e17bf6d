"""The fenced blocks of Markdown files, and what runs them, for the tests of README and guides.

The language says what a test may do with a block, and costs the reader nothing: ``python`` and
``console`` run as printed, ``py`` (compiled only) and ``sh`` do not. In a ``console`` block a line
that begins with ``$ `` is a command, which may go on after a backslash; the others are its output.
"""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from raincleave.cli import run

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>\w*)[^\n]*\n"
    r"(?P<text>.*?)^(?P=indent)(?P=ticks) *$",
    re.MULTILINE | re.DOTALL,
)
# A training as printed takes hours; behind the command's own options these make one step of it.
ONE_STEP = [
    "--trainer.max_steps=1",
    "--trainer.val_check_interval=1",
    "--trainer.check_val_every_n_epoch=null",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--data.patch_size=24",
    "--data.batch_size=2",
    "--data.num_workers=0",
]
# What a shell would do something about: such commands are given to one.
_SHELL = re.compile(r"[|&;<>*?$`~]")


class Block(NamedTuple):
    """A fenced block of a Markdown file."""

    path: Path
    line: int
    """Of the first line inside the fence, from 1."""
    language: str
    text: str

    @property
    def where(self) -> str:
        """As editors take it, ``PATH:LINE``."""
        return f"{self.path}:{self.line}"


def blocks(path: Path, language: str | None = None) -> list[Block]:
    """The fenced blocks of a file in their order, of one language or of all."""
    text = path.read_text("utf-8")
    found = []
    for match in _FENCE.finditer(text):
        indent = len(match["indent"])
        inside = "".join(line[indent:] or "\n" for line in match["text"].splitlines(True))
        line = text.count("\n", 0, match.start("text")) + 1
        found.append(Block(path, line, match["language"], inside))
    return [block for block in found if language in (None, block.language)]


def run_python(block: Block, names: dict[str, Any]) -> None:
    """Run a block in the working directory; ``names`` is kept from block to block of a page.

    A traceback shows the Markdown file and its line.
    """
    tree = ast.increment_lineno(ast.parse(block.text, str(block.path)), block.line - 1)
    exec(compile(tree, str(block.path), "exec"), names)


def commands(block: Block) -> list[str]:
    """The commands of a ``console`` block, each on one line."""
    joined = block.text.replace("\\\n", " ")
    return [line[2:].strip() for line in joined.splitlines() if line.startswith("$ ")]


def run_command(command: str, timeout: float = 120) -> None:
    """Run a command in the working directory and ask for exit code 0.

    ``raincleave ...`` alone runs in this process, which saves importing torch anew, and its
    ``fit`` makes one step; anything with pipes, patterns or another program is given to bash.
    """
    words = shlex.split(command, comments=True)
    if words[0] == "raincleave" and not any(_SHELL.search(word) for word in words):
        more = ONE_STEP if words[1] == "fit" else []
        assert run([*words[1:], *more]) == 0, command
        return
    scripts = str(Path(sys.executable).parent)
    path = os.pathsep.join((scripts, os.environ["PATH"]))
    done = subprocess.run(
        ["bash", "-euc", command],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
