"""Recognise a dataset by its files, and pair them up."""

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from raincleave.data.halves import rainy_side
from raincleave.data.layout_table import LAYOUTS, Layout
from raincleave.data.pairs import Pair
from raincleave.data.pictures import Half, Picture
from raincleave.errors import DataError
from raincleave.formats import SUFFIXES

__all__ = ["LAYOUTS", "Found", "Layout", "NoPairsError", "find_pairs", "scan"]

_IMAGE = rf"\.(?:{'|'.join(suffix[1:] for suffix in SUFFIXES)})"
_DEPTH = 3


class NoPairsError(DataError):
    """A folder without any pair; it may hold photos, or datasets further below."""


class Found(NamedTuple):
    """What a folder turned out to hold.

    Attributes:
        root: the folder.
        layout: the row of `LAYOUTS` it follows.
        pairs: all complete pairs, by name.
        problems: one sentence for each file without partner.
    """

    root: Path
    layout: Layout
    pairs: list[Pair]
    problems: list[str]

    @property
    def version(self) -> str:
        """The published edition with this number of pairs, or that there is none."""
        count = len(self.pairs)
        if count in self.layout.versions:
            return self.layout.versions[count]
        if self.layout.name == "two folders":
            return "paired folders of your own"
        known = ", ".join(f"{number:,}" for number in sorted(self.layout.versions))
        return f"part of a dataset or one of your own (published editions have {known} pairs)"


def find_pairs(root: str | Path) -> Found:
    """Recognise the layout of a folder and pair its files up.

    Raises:
        DataError: there is no such folder, it follows no known layout, or a file has no partner.
    """
    found = scan(root)
    if found.problems:
        more = len(found.problems) - 1
        raise DataError(found.problems[0] + (f" ({more} more like this)" if more else ""))
    return found


def scan(root: str | Path) -> Found:
    """`find_pairs`, but files without partner are listed in ``problems`` instead of raised.

    Raises:
        DataError: there is no such folder, or it follows no known layout.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"There is no folder {root}; give the folder that holds the dataset.")
    files = list_images(root)
    listed = _read_list(root)
    if listed is not None:
        return listed
    # The one that knows most: names of one's own may in part be like those of a benchmark.
    joined = [made for layout in LAYOUTS if layout.clean and (made := _join(root, files, layout))]
    if joined:
        return max(joined, key=lambda made: made[0])[1]
    for layout in LAYOUTS:
        if not layout.clean and (halves := _scan_halves(root, files, layout)):
            return halves
    raise _why_not(root, files)


def list_images(root: Path) -> list[str]:
    """Paths of the images at most three folders deep in ``root``, relative to it, sorted."""
    images = []
    for folder, below, names in os.walk(root, followlinks=True):
        inside = Path(folder).relative_to(root)
        depth = len(inside.parts)
        below[:] = [] if depth >= _DEPTH else [name for name in below if name[0] != "."]
        images += [
            (inside / name).as_posix()
            for name in names
            if name[0] != "." and name.lower().endswith(SUFFIXES)
        ]
    return sorted(images)


def _keys(files: Sequence[str], pattern: str) -> dict[int | str, list[str]]:
    """Files that match a pattern, by number or stem."""
    compiled = re.compile(pattern + _IMAGE, re.IGNORECASE)
    keys: dict[int | str, list[str]] = defaultdict(list)
    for file in files:
        if match := compiled.fullmatch(file):
            groups = match.groupdict()
            keys[int(groups["number"]) if "number" in groups else groups["stem"]].append(file)
    return keys


def _join(root: Path, files: Sequence[str], layout: Layout) -> tuple[int, Found] | None:
    """How many of the files a layout knows, and the pairs they make; None if there are none."""
    clean, rainy = _keys(files, layout.clean), _keys(files, layout.rainy)
    if not clean.keys() & rainy.keys():
        return None
    problems = _unmatched(root, clean, rainy, layout)
    pairs = [
        Pair(wet, Picture(root / wet), Picture(root / dry[0]), PurePosixPath(dry[0]).stem)
        for key, dry in clean.items()
        for wet in rainy.get(key, [])
        if key not in problems
    ]
    known = {file for keys in (clean, rainy) for group in keys.values() for file in group}
    return len(known), Found(root, layout, _named(pairs), list(problems.values()))


def _unmatched(
    root: Path,
    clean: dict[int | str, list[str]],
    rainy: dict[int | str, list[str]],
    layout: Layout,
) -> dict[int | str, str]:
    """One sentence for each file whose partners are missing or too many."""
    hint = f"files are named like {layout.example}"
    problems: dict[int | str, str] = {}
    for key, wet in sorted(rainy.items(), key=lambda item: item[1]):
        if key not in clean:
            problems[key] = f"{root / wet[0]} has no clean partner; {hint}."
    for key, dry in sorted(clean.items(), key=lambda item: item[1]):
        count = len(rainy.get(key, []))
        if len(dry) > 1:
            problems[key] = f"{root / dry[0]} and {root / dry[1]} are the same pair's clean image."
        elif count == 0:
            problems[key] = f"{root / dry[0]} has no rainy partner; {hint}."
        elif layout.ratio and count != layout.ratio:
            problems[key] = f"{root / dry[0]} has {count} rainy partners, not {layout.ratio}."
    return problems


def _scan_halves(root: Path, files: Sequence[str], layout: Layout) -> Found | None:
    keys = _keys(files, layout.rainy)
    chosen = [file for group in keys.values() for file in group]
    side = rainy_side([root / file for file in chosen])
    if side is None:
        return None
    dry: Half = "left" if side == "right" else "right"
    pairs = [
        Pair(f, Picture(root / f, side), Picture(root / f, dry), PurePosixPath(f).stem)
        for f in chosen
    ]
    return Found(root, layout, _named(pairs), [])


def _read_list(root: Path) -> Found | None:
    """SPA-Data's lists: a rainy and a clean path a line, relative to the list's folder."""
    spa = next(layout for layout in LAYOUTS if layout.name == "SPA-Data")
    lists = []
    for text in sorted(root.glob("*.txt")):
        lines = [line.split() for line in text.read_text("utf-8", "replace").splitlines()]
        lines = [line for line in lines if line]
        is_list = lines and all(
            len(line) == 2 and all(name.lower().endswith(SUFFIXES) for name in line)
            for line in lines
        )
        if is_list:
            lists.append((text, lines))
    if len(lists) > 1:
        names = ", ".join(text.name for text, _ in lists)
        raise DataError(
            f"{root} holds several lists of pairs, {names}; leave the one that is meant."
        )
    return _follow_list(root, *lists[0], spa) if lists else None


def _follow_list(root: Path, text: Path, lines: list[list[str]], layout: Layout) -> Found:
    pairs, problems = [], []
    for number, line in enumerate(lines, 1):
        wet, dry = (root / name.lstrip("/") for name in line)
        missing = [path for path in (wet, dry) if not path.is_file()]
        if missing:
            problems.append(f"{missing[0]}, named in line {number} of {text}, does not exist.")
        else:
            name = wet.relative_to(root).as_posix()
            pairs.append(Pair(name, Picture(wet), Picture(dry), dry.relative_to(root).as_posix()))
    return Found(root, layout, _named(pairs), problems)


def _named(pairs: list[Pair]) -> list[Pair]:
    """Name pairs by their rainy file's stem, by its whole path where stems repeat; sort them."""
    stems = [PurePosixPath(pair.name).stem for pair in pairs]
    if len(set(stems)) < len(stems):
        stems = [PurePosixPath(p.name).with_suffix("").as_posix().replace("/", "_") for p in pairs]
    return sorted(pair._replace(name=stem) for pair, stem in zip(pairs, stems, strict=True))


def datasets_below(root: Path) -> list[Path]:
    """The folders at most two levels below ``root`` that hold pairs."""
    folders = [path for depth in ("*", "*/*") for path in sorted(root.glob(depth)) if path.is_dir()]
    holding: list[Path] = []
    for folder in folders:
        if any(parent in holding for parent in folder.parents):
            continue
        try:
            scan(folder)
        except DataError:
            continue
        holding.append(folder)
    return holding


def _why_not(root: Path, files: Sequence[str]) -> DataError:
    """Why a folder follows no layout, in one sentence, with the likeliest remedy."""
    for layout in LAYOUTS:
        # Any photo may be named like the files of the other layouts.
        if layout.name in ("Rain1200", "SPA-Data", "two folders", "side by side"):
            continue
        for pattern, other in ((layout.clean, "rainy"), (layout.rainy, "clean")):
            if matches := _keys(files, pattern):
                first = root / next(iter(matches.values()))[0]
                hint = f"files are named like {layout.example}"
                return DataError(f"{first} has no {other} partner; {hint}.")
    if not files:
        return NoPairsError(f"{root} holds no images; give the folder that holds the dataset.")
    if below := datasets_below(root):
        names = ", ".join(path.relative_to(root).as_posix() for path in below[:6])
        return NoPairsError(
            f"{root} holds no pairs itself, but its folders {names} do; give one of them."
        )
    return NoPairsError(
        f"{root} holds {len(files)} images but no pairs in a known layout; the simplest is two "
        "folders, rainy and clean, with the same file names in both."
    )
