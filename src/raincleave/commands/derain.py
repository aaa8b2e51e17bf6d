"""``raincleave derain``: pictures, folders and globs in, derained pictures out."""

import sys
from argparse import SUPPRESS
from typing import TYPE_CHECKING, Any

from raincleave.errors import ConfigError, ImageError
from raincleave.inference.jobs import Job, plan

if TYPE_CHECKING:
    from rich.console import Console

    from raincleave.models import Derainer


def add_arguments(parser: Any) -> None:
    """Adds the options, some by hand: a signature knows no short option, flag or ``INPUT ...``."""
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="picture, folder (with all below it) or glob"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        default=SUPPRESS,
        help="file (for one picture) or folder; NAME.derained.EXT beside each picture if not given",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace results that are there, and originals where OUT names them",
    )
    parser.add_function_arguments(derain_files, skip={"inputs", "output", "overwrite"})


def derain_files(
    inputs: list[str],
    *,
    output: str | None = None,
    model: str = "drn-7x7",
    stages: int | None = None,
    device: str = "auto",
    overwrite: bool = False,
) -> int:
    """Remove the rain from pictures.

    Results that are there already are left alone, so that an interrupted run goes on where it
    stopped; files named ``*.derained.*`` are not derained again. Of an animation, the first frame
    is derained.

    Args:
        inputs: pictures, folders (with all below them) or globs.
        output: a file, for one picture, or a folder; None for ``NAME.derained.EXT`` beside each.
        model: name of a checkpoint (see ``raincleave models``) or a file of weights.
        stages: stop after this many stages of the network; faster and less thorough.
        device: auto, cpu, cuda, cuda:1, mps ...; auto takes the GPU if there is one.
        overwrite: replace results that are there, and originals where the output names them.

    Returns:
        0, or 1 if any picture failed; the others are derained nevertheless.

    Raises:
        ConfigError: two pictures would end in one file, an original would be overwritten, or
            stages or device do not exist.
        CheckpointError: the model cannot be loaded.
    """
    from rich.console import Console

    console = Console(stderr=True)
    todo, done, missing = plan(inputs, output, overwrite)
    for line in [
        *missing,
        *(f"{path} is there already; --overwrite replaces it." for path in done),
    ]:
        _say(console, line)
    failed = _run(todo, _load(model, device), stages, console) if todo else 0
    written = len(todo) - failed
    if len(todo) == written == 1:
        print(f"wrote {todo[0].target}")
    elif todo:
        print(f"wrote {written} of {len(todo)} pictures")
    return 1 if failed or missing else 0


def _load(model: str, device: str) -> "Derainer":
    import torch

    from raincleave.hub import load

    if device == "auto":
        mps = torch.backends.mps.is_available()
        device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    network = load(model)
    try:
        return network.to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(f"--device {device} cannot be used here: {reason}.") from error


def _run(jobs: list[Job], network: "Derainer", stages: int | None, console: "Console") -> int:
    """Derain all, say which failed, and return how many."""
    from rich.progress import Progress

    from raincleave.inference.files import save

    failed = 0
    with Progress(console=console, disable=not sys.stderr.isatty(), transient=True) as progress:
        for source, target in progress.track(jobs, description="deraining"):
            try:
                picture: Any = network.derain(source, stages=stages)
                target.parent.mkdir(parents=True, exist_ok=True)
                save(picture, target)
            # A picture too large for the memory is a bare RuntimeError in torch on the CPU.
            except (ImageError, OSError, MemoryError, RuntimeError) as error:
                failed += 1
                reason = (str(error) or type(error).__name__).splitlines()[0]
                named = str(source) in reason or str(target) in reason
                _say(console, reason if named else f"{source}: {reason}")
    return failed


def _say(console: "Console", line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
