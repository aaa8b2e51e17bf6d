"""Files that are there whole or not at all, whatever moment the process is killed at."""

import hashlib
import itertools
import os
import platform
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

_PART = re.compile(r"\.(.+)\.(\d+)-([0-9a-f]{8})-\d+\.part(\.[^.]*)?", re.DOTALL)
_LONGEST = 255 - len(".." + "4194304-01234567-100000" + ".part")
"""Bytes of a name, less what `whole` adds."""
_FORGOTTEN = 24 * 3600
"""Seconds after which what another computer wrote last is not at work any more."""
_count = itertools.count()


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file to write to, which takes the place of ``path`` when the block ends without an error.

    It lies hidden in the same folder, so that it can be moved in one step and nobody takes it for
    the result; it has the same suffix, by which some writers choose the format. After an error it
    is removed and ``path`` is as it was.

    Raises:
        OSError: the folder is missing or cannot be written to.
    """
    if _is_stream(path):
        yield path  # there is nothing to put in its place
        return
    # Told apart: threads by the count, computers and containers that share the folder by the host.
    writer = f"{os.getpid()}-{_host()}-{next(_count)}"
    part = path.with_name(f".{_stem(path)}.{writer}.part{path.suffix}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def no_place_for(file: Path) -> str | None:
    """Why a file could not be written there, for those who find out before a long work; or None."""
    folder = file.absolute().parent
    if _is_stream(file):
        return None
    if not folder.is_dir():
        return f"there is no folder {file.parent}."
    if file.is_dir():
        return "that is a folder; name a file in it."
    return None if os.access(folder, os.W_OK) else "the folder cannot be written to."


def _stem(path: Path) -> str:
    """A path's stem; of a name as long as file systems allow, its beginning and a hash."""
    if len(os.fsencode(path.name)) <= _LONGEST:
        return path.stem
    return f"{path.stem[:40]}.{hashlib.sha256(os.fsencode(path.stem)).hexdigest()[:16]}"


def _is_stream(path: Path) -> bool:
    """Whether it is a pipe or a device, such as /dev/stdout, which is written to as it is."""
    return path.exists() and not path.is_file() and not path.is_dir()


def sweep(paths: Iterable[Path]) -> None:
    """Remove what processes that were killed left of the files they were writing with `whole`."""
    names: dict[Path, set[str]] = {}
    for path in paths:
        names.setdefault(path.parent, set()).add(_stem(path) + path.suffix)
    for folder, wanted in names.items():
        with suppress(OSError):  # one that is not there, or may not be looked into
            for part in list(folder.iterdir()):
                found = _PART.fullmatch(part.name)
                if found and found[1] + (found[4] or "") in wanted:
                    with suppress(OSError):
                        if not _at_work(int(found[2]), found[3], part):
                            part.unlink()


def _at_work(pid: int, host: str, part: Path) -> bool:
    """Whether a file may still be written to; of another computer's processes nobody here knows."""
    if host != _host():
        return time.time() - part.stat().st_mtime < _FORGOTTEN
    return _runs(pid)


@cache
def _host() -> str:
    """This computer, and the container in it whose processes have numbers of their own."""
    try:
        container = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - it names no file
    except OSError:
        container = ""
    return hashlib.sha256(f"{platform.node()} {container}".encode()).hexdigest()[:8]


def _runs(pid: int) -> bool:
    """Whether there is such a process; never on Windows, which keeps files in use by itself."""
    if os.name == "nt":
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        pass
    return True
