"""Files that are there whole or not at all, whatever moment the process is killed at."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file to write to, which takes the place of ``path`` when the block ends without an error.

    It lies hidden in the same folder, so that it can be moved in one step and nobody takes it for
    the result; it has the same suffix, by which some writers choose the format. After an error it
    is removed and ``path`` is as it was.

    Raises:
        OSError: the folder is missing or cannot be written to.
    """
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
