"""``raincleave derain``: pictures, folders and globs in, derained pictures out."""

import sys
from argparse import SUPPRESS
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from raincleave.atomic import sweep
from raincleave.commands.device import load_on
from raincleave.errors import ImageError, RaincleaveError
from raincleave.inference.jobs import VIDEOS, Job, plan
from raincleave.seldom import Seldom

if TYPE_CHECKING:
    from PIL.Image import Image
    from rich.console import Console
    from rich.progress import Progress

    from raincleave.models import Derainer

_FEW = 3
"""So many results that are there already are named one by one."""
_AHEAD = 2
"""How many pictures are read before their turn, and how many may wait to be written."""


def add_arguments(parser: Any) -> None:
    """Adds the options, some by hand: a signature knows no short option, flag or ``INPUT ...``."""
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="picture, video, folder or glob")
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        default=SUPPRESS,
        help="file (for one picture) or folder; NAME.derained.EXT beside each picture if not given",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace results that are there, and originals where OUT names them",
    )
    parser.add_argument(
        "--max-megapixels",
        type=float,
        metavar="N",
        help="refuse larger pictures; if not given, those above 179, since a small file of an "
        "enemy's can unpack to more than the memory holds",
    )
    by_hand = {"inputs", "output", "overwrite", "max_megapixels"}
    parser.add_function_arguments(derain_files, skip=by_hand)


def derain_files(
    inputs: list[str],
    *,
    output: str | None = None,
    model: str = "drn-7x7",
    stages: Literal["auto"] | int | None = None,
    precision: Literal["32", "fast"] = "32",
    tile: Literal["auto"] | int | None = "auto",
    halo: Literal["exact"] | int | None = None,
    ensemble: Literal[1, 2, 4] = 1,
    backend: Literal["torch", "onnxruntime", "openvino"] = "torch",
    device: str = "auto",
    max_megapixels: float | None = None,
    overwrite: bool = False,
) -> int:
    """Remove the rain from pictures and videos.

    Results that are there already are left alone, so that an interrupted run goes on where it
    stopped; files named ``*.derained.*`` are not derained again. Of an animation, the first frame
    is derained.

    Args:
        inputs: pictures, folders (with all below them) or globs; a video named by itself.
        output: a file, for one picture, or a folder; None for ``NAME.derained.EXT`` beside each.
        model: name of a checkpoint (see ``raincleave models``; drn-7x7.real and rranet.real are for
            photographs of rain) or a file of weights.
        stages: stop after this many stages of the network, faster and less thorough; auto stops
            where the middle of the picture changes no more.
        precision: 32, or fast, which is half precision where the hardware does it natively.
        tile: auto cuts pictures that are too large for the memory; a number is the side of a tile
            in pixels; null never cuts.
        halo: pixels around a tile that the network sees too; exact are all that have an influence;
            null is the network's own short halo, which changes no pixel by a quarter of a level.
        ensemble: 2 averages over the picture and its mirror image, 4 also over both upside down;
            two or four times the work.
        backend: what computes; all but torch must be installed as extras.
        device: auto, cpu, cuda, cuda:1, mps ...; auto takes the GPU if there is one.
        max_megapixels: larger pictures are refused; if not given, those above 179, since a small
            file of an enemy's can unpack to more than the memory holds.
        overwrite: replace results that are there, and originals where the output names them.

    Returns:
        0, or 1 if any picture failed; the others are derained nevertheless.

    Raises:
        ConfigError: two pictures would end in one file, an original would be overwritten, or
            stages or device do not exist.
        CheckpointError: the model cannot be loaded.
    """
    from rich.console import Console

    console = Console(stderr=True)
    todo, done, missing, videos = plan(inputs, output, overwrite)
    for line in [*missing, *videos, *_kept(done)]:
        _say(console, line)
    options = _changed(
        stages=(stages, None),
        precision=(precision, "32"),
        tile=(tile, "auto"),
        halo=(halo, None),
        ensemble=(ensemble, 1),
        backend=(backend, "torch"),
    )
    sweep(job.target for job in todo)
    with _opening(max_megapixels):
        failed = _run(todo, load_on(model, device), options, console) if todo else 0
    written = len(todo) - failed
    if len(todo) == written == 1:
        print(f"wrote {todo[0].target}")
    elif todo:
        to = f" to {output}" if output and written else ""
        print(f"wrote {written} of {len(todo)} pictures{to}")
    return 1 if failed or missing else 0


@contextmanager
def _opening(max_megapixels: float | None) -> Iterator[None]:
    """Within, Pillow opens pictures of so many megapixels."""
    from PIL import Image

    before = Image.MAX_IMAGE_PIXELS
    if max_megapixels is not None:
        Image.MAX_IMAGE_PIXELS = int(max_megapixels * 1e6 / 2)  # it refuses twice as many
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _kept(done: list[Path]) -> list[str]:
    """What is said of results that are there already: of each, or in one line of many."""
    if len(done) <= _FEW:
        unknown = "whatever model and options made it; --overwrite replaces it."
        return [f"{path} is there already, {unknown}" for path in done]
    return [
        f"{len(done)} results are there already, whatever model and options made them; "
        "--overwrite makes them again."
    ]


def _changed(**options: tuple[Any, Any]) -> dict[str, Any]:
    """The options that differ from their defaults, given as name=(value, default)."""
    return {name: value for name, (value, default) in options.items() if value != default}


def _run(jobs: list[Job], network: "Derainer", options: dict[str, Any], console: "Console") -> int:
    """Derain all, say which failed, and return how many.

    Pictures are read ahead and written behind in threads, so that the network never waits.
    """
    from rich.progress import Progress

    failed = 0
    notes: dict[str, list[Path]] = {}
    tty = sys.stderr.isatty()
    with (
        Progress(console=console, disable=not tty, transient=True) as progress,
        ThreadPoolExecutor(1) as reader,
        ThreadPoolExecutor(1) as writer,
    ):
        bar = _Bar(progress, network, len(jobs), options)
        threads = {"reader": reader, "writer": writer}
        for job, finish in _pipeline(jobs, network, options, bar, notes=notes, **threads):
            try:
                finish()
            # A picture too large for the memory is a bare RuntimeError in torch on the CPU.
            except (RaincleaveError, OSError, MemoryError, RuntimeError) as error:
                failed += 1
                reason = (str(error) or type(error).__name__).splitlines()[0]
                named = str(job.source) in reason or str(job.target) in reason
                _say(console, reason if named else f"{job.source}: {reason}")
    for note, pictures in notes.items():
        more = f" and {len(pictures) - 1} more" if len(pictures) > 1 else ""
        _say(console, f"{pictures[0]}{more}: {note}")
    return failed


class _Bar:
    """How far the pictures are: at every stage on a terminal, else now and then in a line."""

    def __init__(
        self, progress: "Progress", network: "Derainer", total: int, options: dict[str, Any]
    ) -> None:
        self.progress, self.network, self.options = progress, network, options
        self.task = progress.add_task("deraining", total=total)
        self.done, self.total, self.seldom = 0, total, Seldom()

    def advance(self) -> None:
        """One picture more is done."""
        self.done += 1
        self.progress.update(self.task, completed=self.done)
        self.tell("pictures", self.done, self.total, self.seldom)

    def tell(self, what: str, done: int, total: int, seldom: Seldom) -> None:
        """In a job's log, say how far the work is, if it is time."""
        if self.progress.disable and 0 < done < total and seldom.is_time():
            left = seldom.left(done, total)
            _say(self.progress.console, f"{done} of {total} {what}, {left}")

    def watching(self, picture: "Image") -> AbstractContextManager[None]:
        """Within, the bar moves with every stage that the network is through with."""
        # Another runtime's network is exported from `unroll`, in which nobody may listen then.
        if self.progress.disable or "backend" in self.options:
            return nullcontext()
        from raincleave.inference.watching import Watch, halo_of, watching

        network, halo = self.network, halo_of(self.network, self.options.get("halo"))
        total = self._stages  # before anything listens

        def tell(now: Any) -> None:
            share = now.share(network.stages_run or total) or 0
            self.progress.update(self.task, completed=self.done + share)

        size, views = (picture.height, picture.width), self.options.get("ensemble", 1)
        return watching(network, Watch(size, halo, tell, views=views))

    @cached_property
    def _stages(self) -> int:
        from raincleave.inference.watching import count_stages

        return count_stages(self.network)


def _pipeline(
    jobs: list[Job],
    network: "Derainer",
    options: dict[str, Any],
    bar: _Bar,
    *,
    notes: dict[str, list[Path]],
    reader: ThreadPoolExecutor,
    writer: ThreadPoolExecutor,
) -> Iterator[tuple[Job, Callable[[], Any]]]:
    """Each job, in order, with what waits for its end and raises what went wrong.

    What is not in a picture that was read comes into ``notes``, by the sentence that says so.
    """
    from raincleave.inference.files import left_out, read, save

    def opened(source: Path) -> tuple[Any, list[str]]:
        return read(source), left_out(source)

    def write(picture: Any, target: Path) -> None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ImageError(f"{target} cannot be written: {error.strerror}.") from error
        save(picture, target)

    reading: deque[Future[Any]] = deque()
    writing: deque[tuple[Job, Callable[[], Any]]] = deque()
    pictures = iter(job for job in jobs if job.source.suffix.lower() not in VIDEOS)
    reading.extend(reader.submit(opened, job.source) for job in islice(pictures, _AHEAD))
    for job in jobs:
        if job.source.suffix.lower() in VIDEOS:
            writing.append((job, partial(_derain_video, job, network, options, bar)))
            continue
        next_picture = reading.popleft()
        reading.extend(reader.submit(opened, ahead.source) for ahead in islice(pictures, 1))
        try:
            picture, said = next_picture.result()
            for note in said:
                notes.setdefault(note, []).append(job.source)
            with bar.watching(picture):
                derained = network.derain(picture, **options)
            writing.append((job, writer.submit(write, derained, job.target).result))
        except (ImageError, OSError, MemoryError, RuntimeError) as error:
            writing.append((job, partial(_raise, error)))
        bar.advance()
        if len(writing) > _AHEAD:
            yield writing.popleft()
    yield from writing


def _derain_video(job: Job, network: "Derainer", options: dict[str, Any], bar: _Bar) -> None:
    from raincleave.inference.video import derain_video

    frames = bar.progress.add_task(job.source.name, total=None)
    seldom = Seldom()

    def derain(frame: Any) -> Any:
        return network.derain(frame, **options)

    def tell(done: int, total: int) -> None:
        bar.progress.update(frames, completed=done, total=total or None)
        bar.tell(f"frames of {job.source.name}", done, total, seldom)

    job.target.parent.mkdir(parents=True, exist_ok=True)
    try:
        derain_video(job.source, job.target, derain, tell, partial(_say, bar.progress.console))
    finally:
        bar.progress.remove_task(frames)
        bar.advance()


def _raise(error: Exception) -> None:
    raise error


def _say(console: "Console", line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
