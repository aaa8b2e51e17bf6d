"""Which pairs an evaluation scores: a dataset in its folder, or two folders of finished images."""

import re
from pathlib import Path
from typing import NamedTuple

from raincleave.data.audit import mistaken
from raincleave.data.layouts import scan
from raincleave.data.pairs import Pair
from raincleave.data.pictures import Picture, image_files_of
from raincleave.errors import DataError


class Benchmark(NamedTuple):
    """What is scored.

    Attributes:
        name: of the dataset, with its edition as recognised.
        root: its folder.
        pairs: all complete pairs, by name.
        problems: one sentence for each file that has no partner.
    """

    name: str
    root: Path
    pairs: list[Pair]
    problems: list[str]


def find_dataset(root: str | Path, name: str | None = None) -> Benchmark:
    """Recognise the dataset in a folder.

    Args:
        root: the dataset's folder, or the one in which a folder called ``name`` lies.
        name: what the dataset must be, such as ``"Rain100H"``; None takes whatever it is. It is
            compared with the layout, its published editions and the folder's own name, and where
            a heavy and a light set share a layout, with the rain of some pairs.

    Raises:
        DataError: there is no such folder, it holds no pairs, or it is not what ``name`` says.
    """
    folder = Path(root)
    if name and (folder / name).is_dir():
        folder = folder / name
    found = scan(folder)
    editions = [word for word in re.findall(r"[\w-]+", found.version) if word[0].isupper()]
    known = [*found.layout.name.split("/"), *editions, folder.absolute().name]
    if name and _plain(name) not in [_plain(word) for word in known]:
        raise DataError(
            f"{folder} is not {name}: it was recognised as {found.layout.name}, {found.version}."
        )
    if name and (problem := mistaken(found, name)):
        raise DataError(problem)
    label = f"{name or folder.absolute().name} ({found.version})"
    return Benchmark(label, folder, found.pairs, found.problems)


def _plain(text: str) -> str:
    return re.sub(r"[\W_]", "", text).lower()


def find_folders(finished: str | Path, clean: str | Path) -> Benchmark:
    """Pair finished images with their ground truth: by the same stem, else by the same number.

    Args:
        finished: folder of images under test.
        clean: folder of ground truth; it may hold more.

    Raises:
        DataError: a folder is missing or empty.
    """
    tests, truths = image_files_of(Path(finished)), image_files_of(Path(clean))
    pairs, problems = [], []
    for test in tests:
        partners = [truth for truth in truths if truth.stem == test.stem]
        if not partners and (number := _number(test)) is not None:
            partners = [truth for truth in truths if _number(truth) == number]
        if len(partners) != 1:
            found = "none" if not partners else " and ".join(path.name for path in partners)
            problems.append(
                f"{test} needs one partner of the same name or number in {clean}; it has {found}."
            )
            continue
        pairs.append(Pair(test.stem, Picture(test), Picture(partners[0]), partners[0].stem))
    return Benchmark(f"{finished} against {clean}", Path(finished), pairs, problems)


def _number(path: Path) -> int | None:
    digits = "".join(c if c.isdigit() else " " for c in path.stem).split()
    return int(digits[0]) if digits else None
