"""Which images are measured, and what a network is called in a table.

Imported by the examples that measure, and nothing to run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def evenly(items: Sequence[T], count: int) -> Sequence[T]:
    """At most ``count`` of the items, evenly taken, in order."""
    return items[:: max(1, len(items) // count)][:count]


def short_name(model: str) -> str:
    """The name of a checkpoint as it is, a file of weights without folder and suffix."""
    return Path(model).stem if Path(model).is_file() else model
