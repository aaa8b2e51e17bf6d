"""One file derained, and all that the page shows of it."""

import re
import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import PIL.Image
import torch
import torch.nn.functional as F
from torch import Tensor

from raincleave.errors import ImageError, RaincleaveError
from raincleave.formats import open_image
from raincleave.inference.files import left_out, read, save
from raincleave.inference.images import to_tensor
from raincleave.inference.memory import out_of_memory
from raincleave.inference.watching import Progress, Watch, halo_of, watching

if TYPE_CHECKING:
    from raincleave.models import Derainer, Stage

PREVIEW = 1600
"""Longer side in pixels of the pictures sent to the browser; the file to download is full size."""
REDUCED = 800
"""Longer side at which the stages are computed again where the picture went through in pieces."""
_BRIGHTEST = 16
"""The rain layer is made no brighter than this many times."""


class StoppedError(RaincleaveError):
    """The visitor stopped the work, or left."""


class View(NamedTuple):
    """A picture of the strip below the slider."""

    preview: Path
    caption: str
    title: str
    """What the right half of the slider shows when this is chosen."""


class Result(NamedTuple):
    """What a file gave; all paths lie in ``folder``."""

    folder: Path
    source: Path
    file: Path
    """The derained picture, full size and depth."""
    before: Path
    views: list[View]
    """The stages, then the rain."""
    facts: str
    """Size, time and stages in words."""
    note: str
    """What the visitor should know besides; may be empty."""

    @property
    def derained(self) -> int:
        """Index of the view of the last stage."""
        return len(self.views) - 2


class Job(NamedTuple):
    """What is asked for."""

    source: Path
    stages: Literal["auto"] | int | None
    precision: Literal["32", "fast"]


def check_size(source: Path, megapixels: float) -> None:
    """Refuse a picture by its header, before any pixel is decoded.

    Args:
        source: a file; what is no picture passes, since reading it says so better.
        megapixels: the limit, in millions.

    Raises:
        ImageError: it has more pixels than that.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            with open_image(source) as image:
                width, height = image.size
    except PIL.Image.DecompressionBombError:
        raise ImageError(
            f"{source} has more pixels than Pillow opens; make it smaller first."
        ) from None
    except Exception:  # Pillow's readers raise whatever they trip over.
        return
    if width * height > megapixels * 1e6:
        raise ImageError(
            f"{source} has {width * height / 1e6:.1f} megapixels ({width} × {height}), but this "
            f"page takes {megapixels:g}; make it smaller first."
        )


def derain_file(
    model: "Derainer",
    total: int,
    job: Job,
    folder: Path,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Result:
    """Derain a file by `Derainer.derain`, and make previews of it, of the stages and of the rain.

    A picture that goes through the network at once gives its stages on the way. One that is cut
    into pieces does not: its stages are computed once more, on a copy of `REDUCED` pixels, and the
    result's note says so.

    Args:
        model: used by one thread at a time.
        total: how many stages it has.
        job: what is asked for.
        folder: where everything is written; nothing but the source lies there.
        tell: is told of every stage done; what it raises ends the work.

    Raises:
        ImageError: the file cannot be read, derained or written.
    """
    image = read(job.source)
    rainy, _ = to_tensor(image)
    height, width = rainy.shape[-2:]
    watch = Watch(
        (height, width), halo_of(model), tell, keep=lambda stage: _small(stage.background)
    )
    before = _small(rainy)
    del rainy
    started = time.perf_counter()
    with watching(model, watch):
        derained: Any = model.derain(job.source, stages=job.stages, precision=job.precision)
    seconds = time.perf_counter() - started
    run = model.stages_run or total
    file = folder / f"{job.source.stem}.derained{job.source.suffix}"
    save(derained, file)
    after = _small(to_tensor(derained)[0])
    stages, rain = watch.whole[:-1], watch.rain
    if not watch.whole:
        stages, rain = _stages_of(model, before, run, tell)
    previews = folder / "previews"
    previews.mkdir()
    show = partial(_write, folder=previews, like=image)
    views = [
        View(show(stage, f"stage-{number}"), str(number), f"after stage {number} of {total}")
        for number, stage in enumerate([*stages, after], start=1)
    ]
    views[-1] = views[-1]._replace(title="derained")
    layer, words, times = _rain_layer(before, after, None if rain is None else _small(rain))
    views.append(View(show(layer, "rain"), f"rain ×{times:.2g}", words))
    return Result(
        folder,
        job.source,
        file,
        show(before, "before"),
        views,
        facts(width, height, seconds, run, total),
        _note(job.source, in_pieces=not watch.whole),
    )


def facts(width: int, height: int, seconds: float, run: int, total: int) -> str:
    """Size, time and stages in words.

    >>> facts(480, 320, 0.94, 4, 7)
    '480 × 320 pixels, 0.9 s, stopped after 4 of 7 stages'
    """
    stages = "all" if run == total else f"stopped after {run} of"
    if total == 1:
        return f"{width} × {height} pixels, {seconds:.1f} s"
    return f"{width} × {height} pixels, {seconds:.1f} s, {stages} {total} stages"


def explain(error: Exception, source: Path, root: Path) -> str:
    """One sentence on what went wrong, in which files go by their names alone.

    Args:
        error: what `derain_file` raised.
        source: the file, as it lies on the server.
        root: the folder below which all files of the server lie; a visitor need not know it.
    """
    said = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    if out_of_memory(error.__cause__ or error):
        said = f"{source.name} does not fit into this computer's memory; make it smaller first"
    elif not isinstance(error, RaincleaveError):
        said = f"{source.name} could not be derained: {said}"
    below_root = re.escape(str(root)) + r".*?[/\\](?=" + re.escape(source.stem) + ")"
    return re.sub(below_root, "", said) + "."


def _small(image: Tensor) -> Tensor:
    """A float32 copy on the CPU, (1, 3, h, w) in [0, 1], no side above `PREVIEW`."""
    return _within(image.float(), PREVIEW).clamp(0, 1).cpu()


def _within(image: Tensor, longest: int) -> Tensor:
    scale = longest / max(image.shape[-2:])
    if scale >= 1:
        return image
    height, width = (max(1, round(side * scale)) for side in image.shape[-2:])
    return F.interpolate(image, (height, width), mode="bilinear", antialias=True)


@torch.inference_mode()
def _stages_of(
    model: "Derainer", before: Tensor, run: int, tell: Callable[[Progress], None]
) -> tuple[list[Tensor], Tensor | None]:
    """All stages but the last, and the last one's rain, of a reduced copy; as large as `before`."""
    like = next(model.parameters())
    reduced = _within(before, REDUCED).to(like.device, like.dtype)

    def enlarged(image: Tensor) -> Tensor:
        return F.interpolate(image.float().cpu(), before.shape[-2:], mode="bicubic").clamp(0, 1)

    done: list[Stage] = []
    for number, stage in enumerate(islice(model.unroll(reduced), run), start=1):
        tell(Progress(number, 1, 1))
        done.append(stage)
    rain = done[-1].rain
    backgrounds = [enlarged(stage.background) for stage in done[:-1]]
    return backgrounds, None if rain is None else enlarged(rain)


def _rain_layer(before: Tensor, after: Tensor, own: Tensor | None) -> tuple[Tensor, str, float]:
    """The rain made bright enough to be seen, what it is in words, and how many times brighter."""
    # Rain adds light; where the result is the brighter one there is none to show.
    rain = (before - after).clamp(min=0) if own is None else own.clamp(min=0)
    peak = float(rain.amax(1).flatten().kthvalue(max(1, int(0.995 * rain[0, 0].numel()))).values)
    times = min(_BRIGHTEST, max(1.0, 0.9 / max(peak, 1e-6)))
    what = "the rain, input − output" if own is None else "the rain, as the network estimates it"
    return (rain * times).clamp(max=1), f"{what}, {times:.2g} times as bright", times


def _write(image: Tensor, stem: str, *, folder: Path, like: PIL.Image.Image) -> Path:
    """Write a preview with the alpha and the colour profile of the picture it belongs to."""
    pixels = image[0].mul(255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    picture = PIL.Image.fromarray(pixels)
    options: dict[str, Any] = {}
    profile = like.info.get("icc_profile") or b""
    if profile[16:20] == b"RGB ":
        options["icc_profile"] = profile
    if like.has_transparency_data and stem != "rain":
        alpha = like.convert("RGBA").getchannel("A")
        picture.putalpha(alpha.resize(picture.size, PIL.Image.Resampling.BOX))
        path = folder / f"{stem}.png"
        picture.save(path, compress_level=1, **options)
    else:
        path = folder / f"{stem}.jpg"
        picture.save(path, quality=92, subsampling=0, **options)
    return path


def _note(source: Path, *, in_pieces: bool) -> str:
    notes = left_out(source)
    if in_pieces:
        notes.append(
            "The picture went through the network in pieces, so the stages before the last are "
            f"those of a copy reduced to {REDUCED} pixels."
        )
    return " ".join(notes)
