"""Which pairs an evaluation scores: a dataset in its folder, or two folders of finished images."""

import re
from collections import defaultdict
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import NamedTuple

from raincleave.data.audit import mistaken
from raincleave.data.layouts import LAYOUTS, scan
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
            compared with the layout and its published editions, and where a heavy and a light set
            go by one name but for the last letter, with the rain of some pairs; with the folder's
            own name where the layout says nothing, or no benchmark is called so.

    Raises:
        DataError: there is no such folder, it holds no pairs, or it is not what ``name`` says.
    """
    folder = Path(root)
    if name and (folder / name).is_dir():
        folder = folder / name
    found = scan(folder)
    known = {*map(_plain, found.layout.name.split("/")), *_titles([found.version])}
    claimed = _titles(text for row in LAYOUTS for text in (row.name, *row.versions.values()))
    anyone_s = found.layout.name in ("two folders", "side by side")
    if anyone_s or _plain(name or "") not in claimed:
        known.add(_plain(folder.absolute().name))
    if name and _plain(name) not in known:
        raise DataError(
            f"{folder} is not {name}: it was recognised as {found.layout.name}, {found.version}."
        )
    if name and (problem := mistaken(found, name)):
        raise DataError(problem)
    label = f"{name or folder.absolute().name} ({found.version})"
    return Benchmark(label, folder, found.pairs, found.problems)


def _titles(texts: Iterable[str]) -> set[str]:
    """Words with a capital, which in what `LAYOUTS` says are the names of datasets."""
    words = {word for text in texts for word in re.findall(r"[\w-]+", text)}
    return {_plain(word) for word in words if word[0].isupper()}


def _plain(text: str) -> str:
    return re.sub(r"[\W_]", "", text).lower()


def find_folders(finished: str | Path, clean: str | Path) -> Benchmark:
    """Pair finished images with their ground truth: by the same stem, else by the same number.

    Of several numbers in the names, those that pair most images with most partners.

    Args:
        finished: folder of images under test.
        clean: folder of ground truth; it may hold more.

    Raises:
        DataError: a folder is missing or empty, or two numbers pair all images.
    """
    tests, truths = image_files_of(Path(finished)), image_files_of(Path(clean))
    pairs, problems = [], []
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for truth in truths:
        by_stem[truth.stem].append(truth)
    by_number = _by_number([test for test in tests if test.stem not in by_stem], truths)
    for test in tests:
        partners = by_stem.get(test.stem) or by_number.get(test, [])
        if len(partners) != 1:
            found = "none" if not partners else " and ".join(path.name for path in partners)
            problems.append(
                f"{test} needs one partner of the same name or number in {clean}; it has {found}."
            )
            continue
        pairs.append(Pair(test.stem, Picture(test), Picture(partners[0]), partners[0].stem))
    return Benchmark(f"{finished} against {clean}", Path(finished), pairs, problems)


def _by_number(tests: list[Path], truths: list[Path]) -> dict[Path, list[Path]]:
    """The truths that share a number with each image, by its place in their names."""
    best: dict[Path, list[Path]] = {}
    paired = (-1, -1)
    numbers = {path: [int(n) for n in re.findall("[0-9]+", path.stem)] for path in tests + truths}
    places = [
        range(max((len(numbers[path]) for path in paths), default=0)) for paths in (tests, truths)
    ]
    for ours, theirs in product(*places):
        having: dict[int, list[Path]] = defaultdict(list)
        for truth in truths:
            if theirs < len(numbers[truth]):
                having[numbers[truth][theirs]].append(truth)
        found = {
            test: having[numbers[test][ours]]
            for test in tests
            if ours < len(numbers[test]) and numbers[test][ours] in having
        }
        single = [partners[0] for partners in found.values() if len(partners) == 1]
        count = len(single), len(set(single))
        all_to_one = paired == (len(tests), 1) and count[0] == len(tests) < 2 * count[1]
        if all_to_one and found != best:
            one, other = next(iter(best.items())), found[tests[0]]
            all_would = ", as all the images then would," if len(tests) > 1 else ""
            raise DataError(
                f"{one[0]} may belong to {one[1][0].name}{all_would} or to {other[0].name}; "
                "name images like their partners."
            )
        if count > paired:
            best, paired = found, count
    return best
