"""Score every named checkpoint on every dataset under a folder, beside the published figures.

    python examples/benchmark_table.py ~/datasets -o benchmark

writes ``benchmark.md`` and ``benchmark.json`` with protocol, versions and sha256 of every weight
file; the same weights and images give the same two files again. Add weight files, the authors'
.pth too, with ``--models``; choose folders with ``--datasets``.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from raincleave import RaincleaveError, list_models
from raincleave.atomic import no_place_for
from raincleave.commands.evaluate import evaluate
from raincleave.data.layouts import datasets_below

# As the papers of DRN, BRN and RRANet give them, by the csdwren protocol.
SETS = ("Rain100H", "Rain100L", "Rain12")
PUBLISHED = """
GMM           |         | 15.05 / 0.425 | 28.66 / 0.865 | 32.02 / 0.855
DDN           |  57,369 | 21.92 / 0.764 | 32.16 / 0.936 | 31.78 / 0.900
ResGuideNet_3 |  19,404 | 24.74 / 0.815 | 32.82 / 0.960 | 29.19 / 0.936
ResGuideNet   |  37,065 | 25.25 / 0.841 | 33.16 / 0.963 | 29.45 / 0.938
JORDER        | 369,792 | 26.54 / 0.835 | 36.61 / 0.974 | 33.92 / 0.953
DRN 7×7       |  10,595 | 26.99 / 0.861 | 35.74 / 0.970 | 36.15 / 0.960
SRN           | 168,963 | 29.46 / 0.899 | 37.48 / 0.979 | 36.66 / 0.961
BRN           | 375,526 | 30.47 / 0.913 | 38.16 / 0.982 | 36.74 / 0.959
RRANet        |         | 31.60 / 0.924 | 39.60 / 0.986 |
"""


def score(folder: Path, models: list[str], protocol: str, every: int) -> dict:
    """One dataset's report, without what differs from run to run."""
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch, "report.json")
        evaluate(models, root=str(folder), protocol=protocol, every=every, json=str(target))
        report = json.loads(target.read_text("utf-8"))
    del report["root"]
    for result in report["results"]:
        del result["seconds_per_image"]
    return report


def cell(result: dict) -> str:
    """``PSNR / SSIM`` of a model's last stage."""
    last = result["stages"][-1] if result["stages"] else result["input"]
    # An image that equals its ground truth has an infinite PSNR, which JSON cannot say.
    psnr = "inf" if last["psnr"] is None else f"{last['psnr']:.2f}"
    return f"{psnr} / {last['ssim']:.3f}"


def row(*cells: object) -> str:
    return f"| {' | '.join('' if c is None else str(c) for c in cells)} |"


def markdown(reports: dict[str, dict]) -> str:
    """The table, ours above, published figures below."""
    first = next(iter(reports.values()))
    every = f", one pair in {first['every']}" if first["every"] > 1 else ""
    versions = ", ".join(f"{name} {number}" for name, number in first["versions"].items())
    lines = [
        f"PSNR in dB / SSIM, mean over images, protocol {first['protocol']}, float32 on "
        f"{first['device']}{every}; {versions}.",
        "",
        *(f"- {name}: {report['dataset']}" for name, report in reports.items()),
        "",
        row("", "parameters", *reports, "sha256"),
        row("---", "--:", *("--:" for _ in reports), "---"),
    ]
    inputs = [cell({**report["results"][0], "stages": []}) for report in reports.values()]
    lines.append(row("rainy input", None, *inputs, None))
    for number, result in enumerate(first["results"]):
        figures = [cell(report["results"][number]) for report in reports.values()]
        if result["model"]:
            name = f"**{Path(result['model']).name}**"
            lines.append(
                row(name, f"{result['parameters']:,}", *figures, (result["sha256"] or "")[:12])
            )
    if first["protocol"] == "csdwren":
        for line in PUBLISHED.strip().splitlines():
            name, parameters, *figures = (part.strip() for part in line.split("|"))
            known = dict(zip(SETS, figures, strict=True))
            lines.append(row(f"{name}, published", parameters, *map(known.get, reports), None))
    return "\n".join(lines) + "\n"


def named(output, suffix):
    """The file for one kind of table; with_suffix would take ".heavy" off a checkpoint's name."""
    return output.with_name(output.name + suffix)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder that holds the datasets' folders")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmark"))
    parser.add_argument("--models", nargs="*", default=list_models(), metavar="MODEL")
    parser.add_argument("--datasets", nargs="*", metavar="FOLDER", help="below root; default: all")
    parser.add_argument("--protocol", default="csdwren")
    parser.add_argument("--every", type=int, default=1, help="score one pair in so many")
    args = parser.parse_args()
    names = args.datasets or [str(p.relative_to(args.root)) for p in datasets_below(args.root)]
    if problem := no_place_for(named(args.output, ".md")):
        sys.exit(f"--output {args.output}: {problem}")
    if not names:
        sys.exit(f"there are no datasets in the folders of {args.root}.")
    try:
        reports = {
            name: score(args.root / name, args.models, args.protocol, args.every) for name in names
        }
    except RaincleaveError as error:
        sys.exit(str(error))
    named(args.output, ".md").write_text(markdown(reports), "utf-8")
    text = json.dumps(reports, indent=2, ensure_ascii=False)
    named(args.output, ".json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
