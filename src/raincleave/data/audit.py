"""What a dataset folder really holds: its edition, its broken files, its overlap with another."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from raincleave.data.fingerprints import fingerprint, same_scenes, scene_numbers
from raincleave.data.layouts import LAYOUTS, Found, NoPairsError, scan
from raincleave.data.pairs import Pair, read_pair
from raincleave.data.pictures import Picture, image_files, read_image
from raincleave.errors import DataError

# Mean of O - B in 8-bit levels: 5.7 in Rain100L, 45 to 54 in Rain100H and RainTrainH.
_HEAVY = 20.0


@dataclass(frozen=True)
class Audit:
    """What `audit` found in a folder.

    Attributes:
        root: the folder.
        dataset: the dataset or layout it was recognised as.
        version: its published edition, judged by the number of pairs.
        names: names of the readable pairs, or photos.
        paired: False for a folder of photos alone.
        sizes: number of images of each ``WIDTHxHEIGHT``.
        mean_rain: mean of rainy minus clean, in 8-bit levels; None without pairs.
        scenes: number of different scenes that the clean images show.
        problems: a sentence for each file that is unreadable, without partner, or of another size
            than its partner.
        duplicates: groups of names whose rainy images (or photos) are the same, pixel for pixel.
        prints: fingerprint of each clean image, (N, 264).
    """

    root: Path
    dataset: str
    version: str
    names: list[str]
    paired: bool
    sizes: dict[str, int]
    mean_rain: float | None
    scenes: int
    problems: list[str]
    duplicates: list[list[str]]
    prints: Tensor

    def as_dict(self) -> dict[str, Any]:
        """The report in JSON's types."""
        return {
            "root": str(self.root),
            "dataset": self.dataset,
            "version": self.version,
            "pairs" if self.paired else "photos": len(self.names),
            "scenes": self.scenes,
            "sizes": self.sizes,
            "mean_rain": self.mean_rain,
            "problems": self.problems,
            "duplicates": self.duplicates,
        }


class _Looked(NamedTuple):
    """What reading one pair or photo tells; ``problem`` alone if it cannot be read."""

    size: str = ""
    print: Tensor | None = None
    digest: bytes = b""
    rain: float = 0.0
    problem: str = ""


def audit(root: str | Path, progress: Callable[[int, int], None] | None = None) -> Audit:
    """Read every image of a dataset, or of a folder of photos, and report.

    Args:
        root: the folder.
        progress: called with the number of pairs read so far, and of all.

    Raises:
        DataError: there is no such folder, or nothing in it that could be read.
    """
    root = Path(root)
    found, entries, problems = _contents(root)
    looked = _look_at_all(entries, progress)
    readable = [(e.name, seen) for e, seen in zip(entries, looked, strict=True) if seen.size]
    problems += [seen.problem for seen in looked if seen.problem]
    if not readable:
        raise DataError(f"{root} holds no readable image; {problems[0]}")
    prints = torch.stack([seen.print for _, seen in readable if seen.print is not None])
    mean_rain = sum(seen.rain for _, seen in readable) / len(readable)
    alike = defaultdict(list)
    for name, seen in readable:
        alike[seen.digest].append(name)
    return Audit(
        root=root,
        dataset="photos" if found is None else _which(found.layout.name, mean_rain),
        version="no pairs" if found is None else found.version + _cropped(found, looked),
        names=[name for name, _ in readable],
        paired=found is not None,
        sizes=dict(Counter(seen.size for _, seen in readable).most_common()),
        mean_rain=None if found is None else round(mean_rain, 2),
        scenes=len(set(scene_numbers(prints))),
        problems=problems,
        duplicates=[names for names in alike.values() if len(names) > 1],
        prints=prints,
    )


def overlaps(first: Audit, second: Audit) -> list[tuple[str, str]]:
    """Names of the first's and the second's images that show the same scene."""
    matches = same_scenes(first.prints, second.prints)
    return [(first.names[i], second.names[j]) for i, j in matches]


def _contents(root: Path) -> tuple[Found | None, list[Pair], list[str]]:
    """The pairs of a folder and its problems; a folder of photos as pairs of each with itself."""
    try:
        found = scan(root)
    except NoPairsError:
        photos = image_files(root)
        if not photos:
            raise
        both = [Picture(path) for path in photos]
        return None, [Pair(p.path.stem, p, p, p.path.stem) for p in both], []
    return found, found.pairs, list(found.problems)


def _look_at_all(entries: list[Pair], progress: Callable[[int, int], None] | None) -> list[_Looked]:
    looked = []
    with ThreadPoolExecutor(max_workers=min(8, cpu_count() or 1)) as pool:
        for seen in pool.map(_look, entries):
            looked.append(seen)
            if progress is not None:
                progress(len(looked), len(entries))
    return looked


def _look(pair: Pair) -> _Looked:
    try:
        if pair.rainy == pair.clean:
            clean = rainy = read_image(pair.clean)
        else:
            rainy, clean = read_pair(pair).values()
    except DataError as error:
        return _Looked(problem=str(error))
    height, width = clean.shape[1:]
    return _Looked(
        size=f"{width}x{height}",
        print=fingerprint(clean),
        digest=hashlib.blake2b(rainy.numpy().tobytes(), digest_size=16).digest(),
        rain=(rainy.float().mean() - clean.float().mean()).item(),
    )


def _which(titles: str, mean_rain: float) -> str:
    """The dataset's name; heavy and light ones share a layout, so their rain decides."""
    heavy, _, light = titles.partition("/")
    return heavy if not light or mean_rain > _HEAVY else light


def mistaken(found: Found, name: str) -> str | None:
    """What a folder of one layout with ``name`` really is: the heavy set, or the light one.

    Five pairs are read, whose rain decides.

    Args:
        found: the folder's pairs.
        name: what it is taken for, such as ``"Rain100L"``, or trained for.

    Returns:
        A sentence; None where the rain is as heavy or light as the name's H or L says, or where
        the name says nothing of the kind.
    """
    if not re.fullmatch(r"rain(train|\d+)[hl]", name, re.IGNORECASE):
        return None
    titles = found.layout.name
    if "/" not in titles:  # one that says nothing of it: what the name says then
        rows = (layout.name for layout in LAYOUTS)
        titles = next((row for row in rows if name.lower() in row.lower().split("/")), "")
    meant = next((one for one in titles.split("/") if one[-1:] == name[-1].upper()), None)
    if meant is None:
        return None
    some = [_look(pair) for pair in found.pairs[:: max(1, len(found.pairs) // 5)][:5]]
    rains = [seen.rain for seen in some if seen.size]
    if not rains:
        return None
    rain = sum(rains) / len(rains)
    really = _which(titles, rain)
    if really == meant:
        return None
    return (
        f"{found.root} is not {meant} but {really}, by its rain, which adds {rain:.0f} of 255 to "
        "the brightness."
    )


def _cropped(found: Found, looked: list[_Looked]) -> str:
    """Whether this is the copy of BSDS-based sets that lacks a row and a column, as MPRNet's."""
    based = re.search(r"Rain(100|200|Train)[HL]", f"{found.layout.name} {found.version}")
    whole = {"480x320", "320x480"} >= {seen.size for seen in looked if seen.size}
    return ", in the copy cropped from 481x321 to 480x320" if based and whole else ""
