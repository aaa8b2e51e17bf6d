"""What an evaluation found, as tables for people, JSON and CSV for programs."""

import csv
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from raincleave import __version__
from raincleave.atomic import whole
from raincleave.data.pairs import Pair
from raincleave.evaluation import LADDER, Derained, ImageScores, Score, Scores
from raincleave.figures import chart, error_map, strip, to_picture
from raincleave.metrics import get_protocol, quantise


@dataclass
class Entry:
    """What one model, or the inputs alone, scored.

    Attributes:
        model: name or file as the user gave it; None for the inputs alone.
        scores: by protocol label.
        parameters: number of weights of the model.
        sha256: of its file.
        label: what tables, charts and files call it.
    """

    model: str | None
    scores: Mapping[str, Scores]
    parameters: int | None = None
    sha256: str | None = None
    label: str = ""


@dataclass
class Report:
    """One evaluation, with all that a reader needs to judge or repeat it.

    Attributes:
        dataset: its name and edition as recognised.
        root: its folder.
        protocol: label of the protocol of the main table.
        precision: arithmetic of the networks, ``"32"`` or ``"fast"``.
        ensemble: of how many views of an image the network's results are the mean.
        device: where they ran.
        every: that each so-many-th pair was scored.
        subject: what the inputs are: ``"rainy input"``, or finished images.
        entries: the results.
        failures: a sentence for each pair that could not be scored.
    """

    dataset: str
    root: str
    protocol: str
    precision: str = "32"
    ensemble: int = 1
    device: str = "cpu"
    every: int = 1
    subject: str = "rainy input"
    entries: list[Entry] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The line that belongs above every figure."""
        counts = {len(entry.scores[self.protocol].images) for entry in self.entries}
        pairs = " / ".join(str(count) for count in sorted(counts))
        subset = f" (1 in {self.every})" if self.every > 1 else ""
        parts = [self.dataset, f"{pairs} pairs{subset}", f"protocol {self.protocol}"]
        parts.append(
            "float32" if self.precision == "32" else f"{self.precision}, NOT COMPARABLE: use 32"
        )
        parts += [f"mean of {self.ensemble} views"] if self.ensemble > 1 else []
        return " · ".join(parts)


def score_table(report: Report) -> Table:
    """The main table: a row for the inputs, and for each stage scored of each model."""
    table = Table()
    table.add_column("")
    of_models = ("gain dB", "stage", "s/image") if report.entries[0].model else ()
    for heading in ("PSNR dB", "SSIM", *of_models):
        table.add_column(heading, justify="right")
    first = report.entries[0].scores[report.protocol].input
    table.add_row(report.subject, f"{first.psnr:.2f}", f"{first.ssim:.3f}")
    for entry in report.entries:
        scores = entry.scores[report.protocol]
        for number, score in scores.stages.items():
            last = number == max(scores.stages)
            table.add_row(
                entry.label,
                f"{score.psnr:.2f}",
                f"{score.ssim:.3f}",
                f"{score.psnr - scores.input.psnr:+.2f}",
                str(number),
                f"{scores.seconds:.3f}" if last and scores.seconds else "",
            )
    return table


def explain_table(report: Report, entry: Entry, *, of_input: bool) -> Table:
    """The same images under every protocol, and what each step from one to the next changes."""
    subject = report.subject if of_input else f"{entry.label}, last stage"
    table = Table(title=f"{subject}: what the protocol changes", title_justify="left")
    table.add_column("protocol")
    for heading in ("PSNR dB", "SSIM", "change dB", "change"):
        table.add_column(heading, justify="right")
    before = None
    for label in LADDER:
        scores = entry.scores[label]
        score = scores.input if of_input else _last(scores)
        step = Score(score.psnr - before.psnr, score.ssim - before.ssim) if before else None
        changes = (f"{step.psnr:+.4f}", f"{step.ssim:+.5f}") if step else ("", "")
        table.add_row(label, f"{score.psnr:.4f}", f"{score.ssim:.5f}", *changes)
        before = score
    scores = entry.scores["csdwren"]
    mean = (scores.input if of_input else _last(scores)).psnr
    pooled = scores.pooled_psnr(None if of_input else max(scores.stages))
    table.add_section()
    label = "csdwren, but pooled over pixels"
    table.add_row(label, f"{pooled:.4f}", "", f"{pooled - mean:+.4f}", "")
    return table


def _last(scores: Scores | ImageScores) -> Score:
    return scores.stages[max(scores.stages)]


def to_json(report: Report) -> dict[str, Any]:
    """The report as JSON values; figures that are not finite become null."""
    return {
        "dataset": report.dataset,
        "root": report.root,
        "every": report.every,
        "protocol": report.protocol,
        "rules": get_protocol(report.protocol)._asdict(),
        "precision": report.precision,
        "ensemble": report.ensemble,
        "device": report.device,
        "versions": {"raincleave": __version__, "torch": torch.__version__},
        "results": [_entry_json(report, entry) for entry in report.entries],
        "failures": report.failures,
    }


def _entry_json(report: Report, entry: Entry) -> dict[str, Any]:
    scores = entry.scores[report.protocol]
    result: dict[str, Any] = {
        "model": entry.model,
        "parameters": entry.parameters,
        "sha256": entry.sha256,
        "pairs": len(scores.images),
        "input": _score_json(scores.input),
        "stages": [{"stage": t, **_score_json(score)} for t, score in scores.stages.items()],
        "seconds_per_image": scores.seconds,
    }
    if len(entry.scores) > 1:
        result["protocols"] = {
            label: {
                "input": _score_json(other.input),
                "output": _score_json(_last(other)) if other.stages else None,
            }
            for label, other in entry.scores.items()
        }
    return result


def _score_json(score: Score) -> dict[str, float | None]:
    return {
        key: round(value, 6) if math.isfinite(value) else None
        for key, value in score._asdict().items()
    }


def write_json(report: Report, path: Path) -> None:
    """Write `to_json`, whole or not at all."""
    with whole(path) as part:
        text = json.dumps(to_json(report), indent=2, ensure_ascii=False) + "\n"
        # What is no UTF-8 in a file's name becomes an escape, which in JSON reads back.
        part.write_text(text, "utf-8", "backslashreplace")


def write_csv(report: Report, path: Path) -> None:
    """Write the per-image values: a row for each image and stage, stage 0 being the input."""
    with (
        whole(path) as part,
        part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(
            ["model", "image", "width", "height", "stage", "psnr", "ssim", "seconds", "protocol"]
        )
        for entry in report.entries:
            for image in entry.scores[report.protocol].images:
                for stage, score in {0: image.input, **image.stages}.items():
                    seconds = image.seconds if stage and stage == max(image.stages) else None
                    figures = [f"{score.psnr:.6f}", f"{score.ssim:.8f}"]
                    time = "" if seconds is None else f"{seconds:.4f}"
                    size = [image.width, image.height]
                    row = [entry.model or "", image.name, *size, stage, *figures, time]
                    writer.writerow([*row, report.protocol])


def draw_charts(folder: Path, report: Report) -> None:
    """PSNR against stage, and of several models also against parameters and time, as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    label = f"PSNR, dB ({report.protocol})"
    scored = {entry.label: entry.scores[report.protocol] for entry in report.entries}
    lines = {
        model: [(float(t), score.psnr) for t, score in scores.stages.items()]
        for model, scores in scored.items()
    }
    chart(lines, "stage", label).save(folder / "stages.png")
    if len(scored) == 1:
        return
    sizes = {e.label: [(float(e.parameters or 1), lines[e.label][-1][1])] for e in report.entries}
    times = {model: [(s.seconds or 1e-9, lines[model][-1][1])] for model, s in scored.items()}
    chart(sizes, "parameters", label, log_x=True).save(folder / "parameters.png")
    chart(times, f"seconds per image on {report.device}", label, log_x=True).save(
        folder / "time.png"
    )


def draw_strips(
    folder: Path,
    model: str,
    scores: Scores,
    pairs: list[Pair],
    process: Callable[[Pair], Derained],
) -> None:
    """Input, stages, output, ground truth and error map of the worst, median and best image."""
    folder.mkdir(parents=True, exist_ok=True)
    ranked = sorted(scores.images, key=lambda image: _last(image).psnr)
    places = {"worst": 0, "median": len(ranked) // 2, "best": len(ranked) - 1}
    by_name = {pair.name: pair for pair in pairs}
    for word, place in places.items():
        image = ranked[place]
        derained = process(by_name[image.name])
        panels = {f"input {_brief(image.input)}": to_picture(derained.rainy)}
        for number, background in derained.stages.items():
            stage = "output" if number == max(derained.stages) else f"stage {number}"
            panels[f"{stage} {_brief(image.stages[number])}"] = to_picture(quantise(background))
        output = list(panels.values())[-1]
        panels["ground truth"] = clean = to_picture(derained.clean)
        panels["error, white is 64 levels"] = error_map(output, clean)
        strip(panels).save(folder / f"{model}.{word}.{image.name}.png")


def _brief(score: Score) -> str:
    return f"{score.psnr:.2f} / {score.ssim:.3f}"
