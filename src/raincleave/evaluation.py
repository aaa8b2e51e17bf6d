"""Scoring: what a model makes of rainy pairs, measured image by image under stated protocols.

The way of one pair is `derain_pair` (or `read_only`, without a model), then `score_image`;
`score_pairs` walks a dataset and gives a `Scores` for every protocol asked for.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

from raincleave.data.pairs import Pair, read_pair
from raincleave.errors import ConfigError, ImageError, RaincleaveError
from raincleave.inference.memory import out_of_memory
from raincleave.inference.precision import Precision, computing_in, dtype_of
from raincleave.inference.watching import count_stages
from raincleave.metrics import PROTOCOLS, Protocol, psnr, ssim

if TYPE_CHECKING:
    from raincleave.models import Derainer

# From one community's protocol to the next in single steps, for `--explain`.
LADDER: dict[str, Protocol] = {
    "csdwren": PROTOCOLS["csdwren"],
    "+ files saved by rounding": PROTOCOLS["csdwren"]._replace(save="round"),
    "+ luma rounded": PROTOCOLS["csdwren"]._replace(save="round", luma="integer"),
    "+ SSIM not downsampled = mprnet": PROTOCOLS["mprnet"],
    "+ colours instead of luma = rgb": PROTOCOLS["rgb"],
}


class Score(NamedTuple):
    """What one image, or a dataset, scored.

    Attributes:
        psnr: in dB.
        ssim: at most 1.
    """

    psnr: float
    ssim: float


class Derained(NamedTuple):
    """A pair, and what a model made of it.

    Attributes:
        pair: where it came from.
        rainy: (1, 3, H, W), uint8.
        clean: (1, 3, H, W), uint8.
        stages: backgrounds by stage number from 1 up, (1, 3, H, W) float, the last one the output.
        seconds: that the network took.
    """

    pair: Pair
    rainy: Tensor
    clean: Tensor
    stages: dict[int, Tensor]
    seconds: float | None = None


class ImageScores(NamedTuple):
    """The scores of one image.

    Attributes:
        name: of the pair.
        width: in pixels.
        height: in pixels.
        input: score of the rainy image itself.
        stages: score of each stage, by its number from 1 up.
        seconds: that the network took; None without one.
    """

    name: str
    width: int
    height: int
    input: Score
    stages: dict[int, Score]
    seconds: float | None


@dataclass
class Scores:
    """The scores of a dataset under one protocol; figures are means of per-image values.

    Attributes:
        images: the scores of each image.
    """

    images: list[ImageScores] = field(default_factory=list)

    @property
    def input(self) -> Score:
        """Mean score of the rainy inputs."""
        return _mean([image.input for image in self.images])

    @property
    def stages(self) -> dict[int, Score]:
        """Mean score of each stage; an image that has fewer stages is an error of the model."""
        if not self.images:
            return {}
        return {t: _mean([i.stages[t] for i in self.images]) for t in self.images[0].stages}

    @property
    def seconds(self) -> float | None:
        """Median time of the network for an image; the first one, which warms up, hardly counts."""
        times = [image.seconds for image in self.images if image.seconds is not None]
        return median(times) if times else None

    def pooled_psnr(self, stage: int | None) -> float:
        """One PSNR from the squared error of all pixels, which many compute and no paper reports.

        Args:
            stage: its number; None for the inputs.
        """
        scores = [image.stages[stage] if stage else image.input for image in self.images]
        pixels = torch.tensor([i.width * i.height for i in self.images], dtype=torch.float64)
        errors = 10 ** (-torch.tensor([s.psnr for s in scores], dtype=torch.float64) / 10)
        return float(-10 * torch.log10((errors * pixels).sum() / pixels.sum()))


def _mean(scores: Sequence[Score]) -> Score:
    table = torch.tensor(scores, dtype=torch.float64).reshape(-1, 2)
    return Score(*table.mean(0).tolist())


@contextmanager
def strict_float32() -> Iterator[None]:
    """Inside, float32 means float32: TF32 and bf16 shortcuts of GPU and CPU are off."""
    matmul, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = cudnn


def read_only(pair: Pair) -> Derained:
    """A pair as it is on disk, for the score of the rainy (or finished) image alone.

    Raises:
        DataError: an image cannot be read, or the two sizes differ.
    """
    images = read_pair(pair)
    return Derained(pair, images["rainy"][None], images["clean"][None], {})


@torch.inference_mode()
def derain_pair(
    model: "Derainer",
    pair: Pair,
    *,
    last: int | None = None,
    every_stage: bool = False,
    precision: Precision = "32",
    ensemble: Literal[1, 2, 4] = 1,
) -> Derained:
    """Read a pair and derain it whole, on the device of the model's weights.

    Args:
        model: in eval mode, float32, channels_last for speed.
        pair: the pair.
        last: stop after this many stages.
        every_stage: keep the background of each stage, not of the last alone.
        precision: `Derainer.derain`'s; figures of ``"fast"`` are not comparable.
        ensemble: `Derainer.derain`'s; above 1 it goes with the last stage alone.

    Raises:
        ConfigError: the model has fewer stages than ``last``.
        DataError: an image cannot be read, or the two sizes differ.
        ImageError: the image is too large for the device's memory.
    """
    _, rainy, clean, *_ = read_only(pair)
    device = next(model.parameters()).device
    batch = rainy.to(device).float().div_(255).contiguous(memory_format=torch.channels_last)
    stages: dict[int, Tensor] = {}
    start = _now(device)
    try:
        with computing_in(dtype_of(precision, device)):
            if ensemble == 1:
                for number, stage in enumerate(islice(model.unroll(batch), last), start=1):
                    stages = (stages if every_stage else {}) | {number: stage.background.float()}
            else:
                whole: dict[str, Any] = {"tile": None, "precision": precision, "ensemble": ensemble}
                mean: Any = model.derain(batch, stages=last, **whole)
                stages[last or count_stages(model)] = mean
    except (ImageError, RuntimeError, MemoryError) as error:
        if not (isinstance(error, ImageError) or out_of_memory(error)):
            raise
        path = pair.rainy.path
        raise ImageError(f"{path} does not fit into the memory of {device}.") from error
    seconds = _now(device) - start
    if last is not None and last not in stages:
        raise ConfigError(
            f"stage {last} was asked for, but {type(model).__name__} here has {max(stages)} stages."
        )
    return Derained(pair, rainy.to(device), clean.to(device), stages, seconds)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def score_image(derained: Derained, protocol: str | Protocol) -> ImageScores:
    """Score input and stages of one image.

    Raises:
        ImageError: the image is smaller than SSIM's window of 11×11 pixels; the message names it.
    """

    def score(test: Tensor) -> Score:
        clean = derained.clean
        return Score(psnr(test, clean, protocol).item(), ssim(test, clean, protocol).item())

    height, width = derained.clean.shape[-2:]
    try:
        stages = {number: score(image) for number, image in derained.stages.items()}
        rainy = score(derained.rainy)
    except ImageError as error:
        raise ImageError(f"{derained.pair.rainy.path} cannot be scored: {error}") from error
    return ImageScores(derained.pair.name, width, height, rainy, stages, derained.seconds)


def score_pairs(
    pairs: Iterable[Pair],
    process: Callable[[Pair], Derained],
    protocols: Mapping[str, str | Protocol],
    *,
    failures: list[str] | None = None,
    each: Callable[[Derained | None], None] = lambda derained: None,
) -> dict[str, Scores]:
    """Score every pair of a dataset under every protocol, holding one image at a time.

    Args:
        pairs: the dataset.
        process: `read_only`, or `derain_pair` with its model.
        protocols: what to score under, by any label.
        failures: where the sentences about unusable pairs are put; if None, the first one raises.
        each: called after each pair, with None for a failed one.

    Returns:
        The scores under each label of ``protocols``.

    Raises:
        RaincleaveError: a pair cannot be read, derained or scored, and ``failures`` is None; or
            the fault is the model's or the options', which no other pair would mend.
    """
    scores = {label: Scores() for label in protocols}
    for pair in pairs:
        derained: Derained | None = None
        try:
            derained = process(pair)
            rows = {label: score_image(derained, rules) for label, rules in protocols.items()}
        except RaincleaveError as error:
            if failures is None or isinstance(error, ConfigError):
                raise
            failures.append(str(error))
            derained = None
        else:
            for label, row in rows.items():
                scores[label].images.append(row)
        each(derained)
    return scores
