"""``raincleave synthesize``: a rainy dataset from a folder of clean photos."""

import io
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from raincleave.commands.telling import telling
from raincleave.data.pictures import Picture, image_files_of, read_image, write_whole
from raincleave.errors import ConfigError, DataError
from raincleave.inference.memory import out_of_memory

_SETTINGS = "synthesis.json"


class _Task(NamedTuple):
    """One pair to make."""

    photo: Path
    out: Path
    name: str
    preset: str
    seed: int


def add_arguments(parser: Any) -> None:
    """Adds the options, one by hand: a signature knows no dashes."""
    parser.add_argument(
        "--per-image", type=int, default=1, help="rainy images of each photo (default: 1)"
    )
    parser.add_function_arguments(synthesize, as_positional=True, skip={"per_image"})


def synthesize(
    clean: str,
    out: str,
    *,
    preset: str = "heavy",
    seed: int = 0,
    workers: int = 1,
    per_image: int = 1,
) -> int:
    """Render rain on photos and write the pairs as PNG, ``rainy/NAME.png`` and ``clean/NAME.png``.

    Every pair depends on the seed and its own name alone, whatever the number of workers; pairs
    that are there already are left alone, so that an interrupted run goes on where it stopped.

    Args:
        clean: folder of clean photos.
        out: folder for the dataset; made if it is not there.
        preset: the rain: light, heavy or real.
        seed: another seed, other rain.
        workers: processes that render.
        per_image: rainy images of each photo, named ``NAME-1.png``, ``NAME-2.png`` ...

    Returns:
        0, or 1 if a photo could not be read; the others are rendered nevertheless.

    Raises:
        DataError: there are no photos, two have the same name, the disk refuses, or a process was
            ended from outside.
        ConfigError: a setting makes no sense, or ``out`` was made with others or by others.
    """
    from raincleave.data.synthesis import RainRenderer

    if workers < 1 or per_image < 1:
        raise ConfigError("--workers and --per-image must be at least 1.")
    RainRenderer(preset)  # an unknown preset is told before anything is written
    photos = _photos(Path(clean))
    target = Path(out)
    for folder in ("rainy", "clean"):
        if (target / folder).resolve() == Path(clean).resolve():
            raise ConfigError(
                f"{target / folder} holds the photos, and would get the pairs too; "
                "choose another folder for them."
            )
    _settle(target, {"preset": preset, "seed": seed, "per_image": per_image})
    tasks = [
        _Task(photo, target, f"{photo.stem}-{k}" if per_image > 1 else photo.stem, preset, seed)
        for photo in photos
        for k in range(1, per_image + 1)
    ]
    todo = [task for task in tasks if not all(path.exists() for path in _paths(task))]
    failed = 0
    with telling("raining", len(todo)) as tell:
        for done, problem in enumerate(_run(todo, workers), 1):
            if problem:
                failed += 1
                print(problem, file=sys.stderr)
            tell(done)
    kept = len(tasks) - len(todo)
    print(f"wrote {len(todo) - failed} pairs to {target}" + (f", {kept} kept" if kept else ""))
    return int(failed > 0)


def _photos(folder: Path) -> list[Path]:
    photos = image_files_of(folder, "clean photos")
    stems: dict[str, Path] = {}
    for photo in photos:
        if photo.stem in stems:
            raise DataError(f"{stems[photo.stem]} and {photo} would have the same name; move one.")
        stems[photo.stem] = photo
    return photos


def _settle(out: Path, settings: dict[str, Any]) -> None:
    """Note the settings in ``out``, or see that they are those it was begun with."""
    note = out / _SETTINGS
    held = None
    try:
        for folder in (out / "rainy", out / "clean"):
            folder.mkdir(parents=True, exist_ok=True)
            held = held or next((folder for _ in folder.iterdir()), None)
    except OSError as error:
        raise DataError(f"{out} can be no folder for the pairs ({error.strerror}).") from error
    # Looked for last: another process, that begins just now, notes before it writes.
    if note.exists():
        try:
            before = dict(json.loads(note.read_text("utf-8")))
        except ValueError:
            raise DataError(f"{note} is damaged; delete it, or choose another folder.") from None
        if before != settings:
            told = ", ".join(f"{key} {value}" for key, value in before.items())
            raise ConfigError(f"{out} was begun with {told}; choose another folder or the same.")
    elif held:
        raise ConfigError(f"{held} holds files of others already; choose another folder.")
    else:
        write_whole(note, (json.dumps(settings, indent=2) + "\n").encode())


def _paths(task: _Task) -> tuple[Path, Path]:
    return tuple(task.out / folder / f"{task.name}.png" for folder in ("rainy", "clean"))  # type: ignore[return-value]


def _run(tasks: list[_Task], workers: int) -> Iterator[str]:
    """Make every pair; an empty string for each that went well, else what is wrong."""
    if workers == 1 or len(tasks) < 2:
        import torch

        threads = torch.get_num_threads()
        _one_thread()
        try:
            yield from map(_make, tasks)
        finally:
            torch.set_num_threads(threads)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), _one_thread) as pool:
        try:
            yield from pool.map(_make, tasks)
        except BrokenProcessPool as error:
            raise DataError(
                "a process that rendered was ended from outside, probably for want of memory; take "
                "fewer --workers. The pairs already written are kept."
            ) from error


def _one_thread() -> None:
    """The order of sums, and so the last bit, depends on the number of threads."""
    import torch

    torch.set_num_threads(1)


def _make(task: _Task) -> str:
    """Render and write one pair; the clean image last, since it marks the pair as done."""
    import torch

    from raincleave.data.pairs import seeded
    from raincleave.data.synthesis import RainRenderer

    try:
        clean = read_image(Picture(task.photo))
        generator = seeded(task.seed, task.name)
        with torch.no_grad():
            rainy = RainRenderer(task.preset)(clean[None] / 255, generator=generator).rainy[0]
        levels = (rainy * 255).round().clamp(0, 255).to(torch.uint8)
        for path, image in zip(_paths(task), (levels, clean), strict=True):
            write_whole(path, _png(image))
    except DataError as error:
        return str(error)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        return f"{task.photo} does not fit into the memory; make it smaller first."
    return ""


def _png(image: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, "PNG")
    return buffer.getvalue()
