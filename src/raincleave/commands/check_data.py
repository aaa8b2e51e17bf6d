"""``raincleave check-data``: say what a dataset folder holds, and what is wrong with it."""

import json as json_module
from itertools import combinations
from pathlib import Path
from typing import Any

from raincleave.atomic import no_place_for
from raincleave.data.audit import Audit, audit, overlaps
from raincleave.data.layouts import datasets_below, scan
from raincleave.data.pictures import write_whole
from raincleave.errors import ConfigError, DataError

_SHOWN = 20


def add_arguments(parser: Any) -> None:
    """Adds the options, two by hand: a signature knows no dashes and no flag without value."""
    parser.add_argument(
        "--exclude-list",
        metavar="FILE",
        help="write the names of the images that show scenes of --against to a file, one a line, "
        "for --data.exclude of `raincleave fit`",
    )
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON")
    parser.add_function_arguments(check_data, as_positional=True, skip={"exclude_list", "json"})


def check_data(
    root: str,
    *,
    against: str | None = None,
    exclude_list: str | None = None,
    json: bool = False,
) -> int:
    """Say which dataset a folder holds, whether its files are whole, and which scenes overlap.

    A folder that holds several datasets is checked one by one, and each against the others.

    Args:
        root: folder of a dataset, of several, or of photos.
        against: another dataset or folder of photos; tells which images of root show its scenes.
        exclude_list: file to write the names of those images to, one a line, for
            ``--data.exclude``.
        json: print the whole report as JSON.

    Returns:
        0, or 1 if a file is unreadable, without partner or of another size than its partner.

    Raises:
        DataError: a folder is missing or holds nothing to check.
        ConfigError: ``exclude_list`` without ``against``, or where no file can be.
    """
    if exclude_list is not None and against is None:
        raise ConfigError("--exclude-list needs --against, the dataset whose scenes to leave out.")
    if exclude_list is not None and (problem := no_place_for(Path(exclude_list))):
        raise ConfigError(f"--exclude-list {exclude_list}: {problem}")
    audits = [_audit(folder) for folder in _folders(Path(root))]
    others = [_audit(folder) for folder in _folders(Path(against))] if against else []
    crossed = [(a, b) for a in audits for b in others] if others else list(combinations(audits, 2))
    shared = [(a, b, overlaps(a, b)) for a, b in crossed]
    if exclude_list is not None:
        names = sorted({name for _, _, matches in shared for name, _ in matches})
        write_whole(
            Path(exclude_list),
            "".join(f"{name}\n" for name in names).encode(errors="surrogateescape"),
        )
    if json:
        print(json_module.dumps(_as_dict(audits + others, shared), indent=2))
    else:
        for report in audits + others:
            print(_text(report))
        for first, second, matches in shared:
            print(_overlap_text(first, second, matches))
        if exclude_list is not None:
            print(f"wrote {len(names)} names to {exclude_list}")
    return int(any(report.problems for report in audits + others))


def _folders(root: Path) -> list[Path]:
    """The dataset folders to check: the root itself, or those below it."""
    if not root.is_dir():
        raise DataError(f"There is no folder {root}; give the folder that holds the dataset.")
    try:
        scan(root)
    except DataError:
        return datasets_below(root) or [root]
    return [root]


def _audit(folder: Path) -> Audit:
    """`audit` that tells how far it is."""
    from raincleave.commands.telling import telling

    with telling(f"reading {folder.name}") as tell:
        return audit(folder, tell)


def _text(report: Audit) -> str:
    """One dataset's report for people."""
    kind = "pairs" if report.paired else "photos"
    sizes = [f"{size} ({count})" for size, count in report.sizes.items()]
    more_sizes = f" and {len(sizes) - 6} more" if len(sizes) > 6 else ""
    lines = [
        f"{report.root}: {report.dataset}",
        f"  edition     {report.version}",
        f"  {kind:<11} {len(report.names):,}, of {report.scenes:,} scenes",
        f"  sizes       {', '.join(sizes[:6])}{more_sizes}",
    ]
    if report.mean_rain is not None:
        lines.append(f"  mean rain   {report.mean_rain:.1f} of 255")
    lines.append(f"  problems    {len(report.problems) or 'none'}")
    lines += _shortened([f"    {problem}" for problem in report.problems])
    lines.append(f"  duplicates  {len(report.duplicates) or 'none'}")
    lines += _shortened([f"    {' = '.join(names)}" for names in report.duplicates])
    return "\n".join(lines)


def _overlap_text(first: Audit, second: Audit, matches: list[tuple[str, str]]) -> str:
    """The overlap of two datasets for people."""
    title = f"{first.root} and {second.root}"
    if not matches:
        return f"{title} share no scene."
    ours, theirs = ({match[side] for match in matches} for side in (0, 1))
    kind = "pairs" if first.paired else "photos"
    return "\n".join(
        [
            f"{title} overlap: {len(ours):,} of {len(first.names):,} {kind} of the first show "
            f"scenes of {len(theirs):,} of the second.",
            *_shortened([f"    {a} = {b}" for a, b in matches]),
        ]
    )


def _shortened(lines: list[str]) -> list[str]:
    more = len(lines) - _SHOWN
    return lines[:_SHOWN] + ([f"    and {more:,} more; --json lists all"] if more > 0 else [])


def _as_dict(
    audits: list[Audit], shared: list[tuple[Audit, Audit, list[tuple[str, str]]]]
) -> dict[str, Any]:
    return {
        "datasets": [report.as_dict() for report in audits],
        "overlaps": [
            {"first": str(first.root), "second": str(second.root), "matches": matches}
            for first, second, matches in shared
        ],
    }
