"""How far a command is: a bar on a terminal, a line of text now and then in a job's log."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from raincleave.seldom import Seldom


@contextmanager
def telling(doing: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """Within, tell on stderr how far the work is.

    Args:
        doing: a word for it, such as ``"scoring"``.
        total: how much there is, where that is known beforehand.

    Yields:
        A function that takes how much is done and, if it was not known before, how much there is.
    """
    if sys.stderr.isatty():
        with _bar() as bar:
            task = bar.add_task(doing, total=total)
            yield lambda done, of=total: bar.update(task, completed=done, total=of)
        return
    seldom = Seldom()

    def tell(done: int, of: int | None = total) -> None:
        if of and 0 < done < of and seldom.is_time():
            print(f"{doing}: {done} of {of}, {seldom.left(done, of)}", file=sys.stderr, flush=True)

    yield tell


def _bar() -> Progress:
    """Gone when it is done; what is printed meanwhile stands above it."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
