"""``raincleave evaluate``: score models, inputs or finished images under a stated protocol."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from rich.console import Console

from raincleave.atomic import no_place_for
from raincleave.benchmarks import find_dataset, find_folders
from raincleave.commands.device import device_named
from raincleave.commands.telling import telling
from raincleave.data.pairs import Pair
from raincleave.errors import ConfigError, DataError
from raincleave.evaluation import (
    LADDER,
    Derained,
    Scores,
    derain_pair,
    read_only,
    score_pairs,
    strict_float32,
)
from raincleave.figures import to_picture
from raincleave.hub import checkpoints, load
from raincleave.inference.files import save as save_image
from raincleave.metrics import Protocol, quantise
from raincleave.reports import (
    Entry,
    Report,
    draw_charts,
    draw_strips,
    explain_table,
    score_table,
    write_csv,
    write_json,
)

if TYPE_CHECKING:
    from raincleave.models import Derainer


def add_arguments(parser: Any) -> None:
    """Adds the options, some by hand: a signature knows no ``MODEL ...`` and no flag."""
    by_hand = {"models", "images", "explain", "keep_going"}
    parser.add_argument(
        "models",
        nargs="*",
        default=[],
        metavar="MODEL",
        help="names of checkpoints or weight files; without any the rainy inputs are scored",
    )
    parser.add_argument(
        "--images",
        nargs=2,
        metavar=("FINISHED", "CLEAN"),
        help="score a folder of finished images against their ground truth, without any model",
    )
    parser.add_argument(
        "--explain", action="store_true", help="score the same images under every protocol"
    )
    parser.add_argument(
        "--keep-going",
        dest="keep_going",
        action="store_true",
        help="leave unusable pairs out, and name them at the end, instead of stopping",
    )
    parser.add_function_arguments(evaluate, skip=by_hand)


def evaluate(
    models: list[str],
    *,
    images: list[str] | None = None,
    root: str | None = None,
    data: str | None = None,
    protocol: Literal["csdwren", "mprnet", "rgb"] = "csdwren",
    stages: str | None = None,
    every: int = 1,
    precision: Literal["32", "fast"] = "32",
    ensemble: Literal[1, 2, 4] = 1,
    device: str = "auto",
    json: str | None = None,
    csv: str | None = None,
    save: str | None = None,
    figures: str | None = None,
    explain: bool = False,
    keep_going: bool = False,
) -> int:
    """Score models on a dataset of rainy-clean pairs.

    Args:
        models: names of checkpoints or weight files; none scores the rainy inputs alone.
        images: two folders, finished images and their ground truth, to score without a model.
        root: folder of the dataset, whose layout is recognised, or the folder it lies in.
        data: name of the dataset, such as Rain100H; it is an error if the folder is another.
        protocol: csdwren (DRN, SRN, BRN, PReNet, RRANet), mprnet (MSPFN, MPRNet, Restormer) or rgb.
        stages: a number, to stop after that stage, or "all", to score every stage.
        every: score one pair in so many, for a quick look.
        precision: 32 is exact; fast is derain's, and not comparable with published figures.
        ensemble: 2 averages over the picture and its mirror image, 4 also over both upside down;
            two or four times the work.
        device: auto, cpu, cuda, cuda:1, mps ...; auto takes the GPU if there is one.
        json: file to write all figures to.
        csv: file to write the values of each image to.
        save: folder to write the derained images to, 8-bit as the protocol saves them.
        figures: folder to write charts and strips of the stages to.
        explain: score the same images under every protocol, and show what each step changes.
        keep_going: leave unusable pairs out, and name them at the end, instead of stopping.

    Returns:
        0, or 1 if a pair was left out.

    Raises:
        ConfigError: an option makes no sense.
        DataError: the dataset, or one of its files, is missing or unusable.
        CheckpointError: a model cannot be loaded.
    """
    _check(models, images, root, every)
    if ensemble > 1 and (stages == "all" or figures is not None):
        raise ConfigError(
            f"--ensemble {ensemble} has one result; leave --stages all and --figures out."
        )
    _check_targets(models, {"--json": json, "--csv": csv}, {"--save": save, "--figures": figures})
    found = find_folders(*images) if images else find_dataset(root or ".", data)
    failures = list(found.problems)
    if failures and not keep_going:
        raise DataError(f"{failures[0]} ({len(failures)} in all; --keep-going leaves them out)")
    runner = _Runner(
        pairs=found.pairs[::every],
        protocols={protocol: protocol, **(LADDER if explain else {})},
        stages=_parse_stages(stages),
        every_stage=stages == "all" or figures is not None,
        device=device_named(device if models else "cpu"),
        precision=precision,
        ensemble=ensemble,
        save=Path(save) if save else None,
        figures=Path(figures) if figures else None,
        failures=failures,
        keep_going=keep_going,
    )
    report = Report(
        dataset=found.name,
        root=str(found.root),
        protocol=protocol,
        precision=precision,
        ensemble=ensemble,
        device=str(runner.device),
        every=every,
        subject="finished images" if images else "rainy input",
        failures=failures,
    )
    scored = count(1)
    with strict_float32(), telling("scoring", len(runner.pairs) * max(1, len(models))) as tell:
        runner.run(models, report, lambda: tell(next(scored)))
    try:
        if json:
            write_json(report, Path(json))
        if csv:
            write_csv(report, Path(csv))
    finally:  # after the files: a pager that is closed must not take them along
        _print(report, explain)
    return 1 if failures else 0


def _check(models: list[str], images: list[str] | None, root: str | None, every: int) -> None:
    if (images is None) == (root is None):
        raise ConfigError("give --root with a dataset, or --images with two folders.")
    if images and models:
        raise ConfigError("--images scores finished images; leave the models out, or give --root.")
    if every < 1:
        raise ConfigError(f"--every must be 1 or more, not {every}.")


def _check_targets(
    models: list[str], files: dict[str, str | None], folders: dict[str, str | None]
) -> None:
    """Find out before the long run that its results would have no place."""
    if any(folders.values()) and not models:
        raise ConfigError("--save and --figures need a model whose results they show.")
    for option, path in files.items():
        if path and (problem := no_place_for(Path(path))):
            raise ConfigError(f"{option} {path}: {problem}")
    for option, path in folders.items():
        if path and Path(path).exists() and not Path(path).is_dir():
            raise ConfigError(f"{option} {path}: that is a file; name a folder.")
        try:
            if path:
                Path(path).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror
            raise ConfigError(
                f"{option} {path}: no folder can be made there ({reason})."
            ) from error


def _parse_stages(stages: str | None) -> int | None:
    if stages in (None, "all"):
        return None
    if not str(stages).isdecimal() or int(str(stages)) < 1:
        raise ConfigError(f'--stages is a number from 1 up, or "all", not {stages!r}.')
    return int(str(stages))


def _print(report: Report, explain: bool) -> None:
    console = Console()
    console.print(report.title, markup=False, highlight=False, soft_wrap=True)
    console.print(score_table(report))
    if explain:
        console.print(explain_table(report, report.entries[0], of_input=True))
        for entry in report.entries:
            if entry.model:
                console.print(explain_table(report, entry, of_input=False))
    for sentence in report.failures:
        Console(stderr=True).print(f"left out: {sentence}", markup=False, soft_wrap=True)


@dataclass
class _Runner:
    """Scores one model after the other over the same pairs."""

    pairs: list[Pair]
    protocols: Mapping[str, str | Protocol]
    stages: int | None
    every_stage: bool
    device: torch.device
    precision: Literal["32", "fast"]
    ensemble: Literal[1, 2, 4]
    save: Path | None
    figures: Path | None
    failures: list[str]
    keep_going: bool

    def run(self, models: list[str], report: Report, advance: Callable[[], None]) -> None:
        """Fill the report's entries."""
        if not models:
            scores = self._score(read_only, lambda derained: advance())
            report.entries.append(Entry(None, scores))
        for ref, label in _labels(models).items():
            folder = self.save and (self.save / label if len(models) > 1 else self.save)
            report.entries.append(self._run_model(ref, label, report.protocol, folder, advance))
        if self.figures:
            draw_charts(self.figures, report)

    def _run_model(
        self,
        ref: str,
        label: str,
        protocol: str,
        /,
        folder: Path | None,
        advance: Callable[[], None],
    ) -> Entry:
        model = self._load(ref)
        process = partial(
            derain_pair,
            model,
            last=self.stages,
            every_stage=self.every_stage,
            precision=self.precision,
            ensemble=self.ensemble,
        )

        def each(derained: Derained | None) -> None:
            advance()
            if derained and folder:
                _save(derained, folder, protocol)

        scores = self._score(process, each)
        if self.figures:
            draw_strips(self.figures, label, scores[protocol], self.pairs, process)
        parameters = sum(weight.numel() for weight in model.parameters())
        return Entry(ref, scores, parameters, _sha256(ref), label)

    def _load(self, ref: str) -> "Derainer":
        model = load(ref)
        # A recurrent network runs as often as asked, beyond the number it was trained with too.
        if self.stages and self.stages > model.hparams.get("stages", self.stages):
            model = load(ref, stages=self.stages)
        return model.to(self.device, memory_format=torch.channels_last)

    def _score(
        self, process: Callable[[Pair], Derained], each: Callable[[Derained | None], None]
    ) -> dict[str, Scores]:
        left_out: list[str] | None = [] if self.keep_going else None
        scores = score_pairs(self.pairs, process, self.protocols, failures=left_out, each=each)
        new = [sentence for sentence in left_out or () if sentence not in self.failures]
        self.failures.extend(new)
        if not next(iter(scores.values())).images:
            raise DataError(f"none of {len(self.pairs)} pairs could be scored; {self.failures[0]}")
        return scores


def _labels(models: list[str]) -> dict[str, str]:
    """A short name for each model that can also name a file: a path's stem, if it is unique."""
    short = [ref if ref in checkpoints() else Path(ref).stem for ref in models]
    return {
        ref: name if short.count(name) == 1 else re.sub(r"[^\w.-]+", "_", ref)
        for ref, name in zip(models, short, strict=True)
    }


def _sha256(ref: str) -> str | None:
    """Of the weight file, where it is one file and at hand."""
    if ref in checkpoints():
        return checkpoints()[ref]["sha256"]
    path = Path(ref)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _save(derained: Derained, folder: Path, protocol: str) -> None:
    """Write the output as the 8-bit PNG that the protocol scores."""
    target = folder / f"{derained.pair.name}.png"
    sources = (derained.pair.rainy.path, derained.pair.clean.path)
    if target.exists() and any(target.samefile(source) for source in sources):
        raise ConfigError(f"--save would overwrite {target} of the dataset; give another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    output = derained.stages[max(derained.stages)]
    save_image(to_picture(quantise(output, protocol)), target)
