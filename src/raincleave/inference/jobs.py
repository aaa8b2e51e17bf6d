"""Which pictures are asked for, and where each result goes. Reads and writes none of them."""

import os
from collections.abc import Iterable, Iterator
from glob import glob, has_magic
from pathlib import Path
from typing import NamedTuple

from raincleave.errors import ConfigError
from raincleave.formats import SUFFIXES, can_write

VIDEOS = frozenset([".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"])
"""What is taken for a video; folders and globs are not searched for them."""


_NO_PIPE = "save what comes through a pipe first"


class Job(NamedTuple):
    """One picture to derain."""

    source: Path
    target: Path


class Plan(NamedTuple):
    """What there is to do."""

    todo: list[Job]
    done: list[Path]
    """Results that are there already."""
    missing: list[str]
    """A sentence for each input that gives no picture."""
    videos: list[str]
    """A sentence for each input that gives pictures, and holds videos too, which are left out."""


def plan(inputs: list[str], output: str | None = None, overwrite: bool = False) -> Plan:
    """Find the pictures, and settle where their results go before any of them is touched.

    Args:
        inputs: pictures, folders (with all below them) or globs. ``NAME.derained.EXT`` is a result,
            and is taken for a picture only when it is all that is asked for.
        output: a folder, or a file if it has an image suffix and no folder bears its name; None for
            ``NAME.derained.EXT`` beside each picture. Below a folder, results lie as the pictures
            do below the folder searched, or below a glob's part without wildcards.
        overwrite: make results again that are there, and let them replace originals.

    Raises:
        ConfigError: two pictures would end in one file, a result in the place of an original, or a
            video in a picture.
    """
    if output == "-":
        raise ConfigError(f"-o - names no file, and results go into files; {_NO_PIPE}.")
    pictures: dict[Path, Path] = {}
    known: set[str] = set()  # a file may be named in two ways
    missing: list[str] = []
    videos = []
    for text in inputs:
        closed: list[str] = []
        films: set[Path] = set()
        found = list(_pictures(text, closed, films, alone=len(inputs) == 1, output=output))
        missing += closed
        for picture, target in found:
            if (path := os.path.abspath(picture)) not in known:  # noqa: PTH100 - links stay
                known.add(path)
                pictures[picture] = target
        result = os.path.isfile(text) and _is_result(Path(text))  # noqa: PTH113
        if not (found or closed or result):
            missing.append(_why_nothing(text, bool(films)))
        elif found and films:
            what = "1 video is" if len(films) == 1 else f"{len(films)} videos are"
            videos.append(f"{text}: {what} left out; name each itself.")
    if output and _is_file(output):
        if len(pictures) > 1:
            raise ConfigError(
                f"-o {output} is one file, but {len(pictures)} pictures were found; give a folder."
            )
        pictures = dict.fromkeys(pictures, Path(output))
    jobs = [Job(*item) for item in pictures.items()]
    _check(jobs, overwrite)
    todo, done = [], []
    for job in jobs:
        if overwrite or not os.path.exists(job.target):  # noqa: PTH110 - as above
            todo.append(job)
        else:
            done.append(job.target)
    return Plan(todo, done, missing, videos)


def _pictures(
    text: str, closed: list[str], films: set[Path], *, alone: bool, output: str | None
) -> Iterator[tuple[Path, Path]]:
    """The pictures that one input stands for, each with its target if ``output`` is no file.

    A sentence for each folder that may not be looked into comes into ``closed``, and into ``films``
    what a folder or glob has of videos.
    """
    path, files, root = Path(text), [], Path()
    # Not Path's own, which raise where a name is too long for any file to have it.
    if os.path.isdir(path):  # noqa: PTH112
        root = path
        listed = list(_below(path, closed))
        files = _wanted(listed, root, output)
        films.update(filter(_is_video, listed))
    elif os.path.exists(path):  # noqa: PTH110
        root = path.parent
        files = [path] if alone or not _is_result(path) else []
    elif has_magic(text):
        root = next(folder for folder in path.parents if not has_magic(str(folder)))
        # Not Path.glob, whose ** leaves out files.
        listed = [Path(name) for name in glob(text, recursive=True)]  # noqa: PTH207
        files = _wanted(listed, root, output)
        films.update(filter(_is_video, listed))
    for file in files:
        if output:
            yield file, Path(output) / file.relative_to(root)
        else:
            yield file, file.with_name(f"{file.stem}.derained{file.suffix}")


def _below(root: Path, closed: list[str]) -> Iterator[Path]:
    """All files in a folder, those of links to folders elsewhere included, none of them twice."""
    home = root.resolve()
    followed: set[Path] = set()

    def tell(error: OSError) -> None:
        closed.append(f"{error.filename} cannot be looked into: {error.strerror}.")

    for place, folders, names in os.walk(root, onerror=tell, followlinks=True):
        if not os.access(place, os.X_OK):
            closed.append(f"{place} cannot be looked into: Permission denied.")
            folders.clear()
            continue
        yield from (Path(place, name) for name in names)
        for name in sorted(folders):
            folder = Path(place, name)
            real = folder.resolve()
            # By a link to what is met anyway, or that leads round in a circle.
            again = real.is_relative_to(home) or home.is_relative_to(real) or real in followed
            if folder.is_symlink() and again:
                folders.remove(name)
            else:
                followed.add(real)


def _is_video(file: Path) -> bool:
    """Whether it is one to derain, as far as its name tells."""
    return file.suffix.lower() in VIDEOS and not _is_result(file) and file.name[0] != "."


def _wanted(files: Iterable[Path], root: Path, output: str | None) -> list[Path]:
    # Results of an earlier run into a folder below the pictures' own are no pictures.
    results = Path(output).resolve() if output else None
    if results == root.resolve():
        results = None
    return sorted(
        file
        for file in files
        if file.suffix.lower() in SUFFIXES
        and not _is_result(file)
        and not any(part.startswith(".") for part in file.relative_to(root).parts)
        and file.is_file()
        and (results is None or results not in file.resolve().parents)
    )


def _is_result(file: Path) -> bool:
    return file.stem.endswith(".derained")


def _is_file(output: str) -> bool:
    path = Path(output)
    if path.is_dir() or output.endswith(("/", "\\")):
        return False
    return path.suffix.lower() in (*SUFFIXES, *VIDEOS) or can_write(path)


def _why_nothing(text: str, films: bool) -> str:
    hint = "; name its videos one by one" if films else ""
    if text == "-":
        return f"- names no file, and pictures come out of files; {_NO_PIPE}."
    if os.path.isdir(text):  # noqa: PTH112
        return f"{text} holds no picture to derain{hint}."
    if has_magic(text):
        return f"{text} matches no picture to derain{hint}."
    try:
        os.stat(text)  # noqa: PTH116 - as above
    except PermissionError:
        return f"{text} cannot be looked into: Permission denied."
    except (OSError, ValueError):
        pass
    return f"{text} does not exist."


def _check(jobs: list[Job], overwrite: bool) -> None:
    originals = {job.source.resolve() for job in jobs}
    sources: dict[Path, Path] = {}
    for source, target in jobs:
        if source.suffix.lower() in VIDEOS and target.suffix.lower() in SUFFIXES:
            raise ConfigError(
                f"{source} is a video, which {target} cannot hold; give a name in .mp4 or .mkv."
            )
        place = target.resolve()
        other = sources.setdefault(place, source)
        if other != source:
            raise ConfigError(
                f"{other} and {source} would both be written to {target}; derain one at a time."
            )
        if place in originals and not overwrite:
            raise ConfigError(
                f"{target} is an original; choose another output, or replace it with --overwrite."
            )
