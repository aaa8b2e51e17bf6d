"""Which images are measured, and what a network is called in a table.

Imported by the examples that measure, and nothing to run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def evenly(items: Sequence[T], count: int) -> Sequence[T]:
    """At most ``count`` of the items, from the first to the last part evenly taken, in order."""
    if count < 1:
        raise SystemExit(f"--images is a number from 1 up, not {count}.")
    count = min(count, len(items))
    return [items[number * len(items) // count] for number in range(count)]


def short_name(model: str) -> str:
    """The name of a checkpoint as it is, a file of weights without folder and suffix."""
    return Path(model).stem if Path(model).is_file() else model
