"""``raincleave bench``: how fast a model derains here, and what the fast ways change."""

import json as json_format
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from raincleave.atomic import no_place_for, whole
from raincleave.errors import ConfigError, RaincleaveError
from raincleave.hub import load
from raincleave.inference.images import to_tensor
from raincleave.inference.memory import peak_bytes
from raincleave.inference.precision import dtype_of

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from raincleave.models import Derainer

_PROBE = 64
_MATMUL = 2048


@dataclass
class Row:
    """One way of deraining at one size."""

    size: str
    way: str
    milliseconds: float
    megapixels_per_second: float
    times_plain: float | None
    share_of_matmul: float
    """Of the arithmetic this machine does in a large matrix product, in [0, 1]."""
    peak_megabytes: float | None
    """Above what was taken before; None where the system does not tell."""
    psnr_to_float32: float | None
    """dB, infinite where no pixel differs; None where nothing ran in float32."""
    worst_levels: float | None
    """The largest difference of a pixel from float32, in 8-bit levels."""


def add_arguments(parser: Any) -> None:
    """Adds the options, some by hand: a signature knows no ``SIZE ...``."""
    parser.add_argument("model", help="name of a checkpoint or a file of weights")
    parser.add_argument("--sizes", nargs="+", default=["500x500"], metavar="WxH")
    parser.add_argument(
        "--ways",
        nargs="+",
        default=["32", "fast"],
        metavar="WAY",
        help="32, fast, compile, onnxruntime, openvino",
    )
    parser.add_function_arguments(bench, skip={"model", "sizes", "ways"})


def bench(
    model: str,
    *,
    sizes: list[str],
    ways: list[str],
    against: Literal["plain", "none"] = "plain",
    image: str | None = None,
    stages: int | None = None,
    repeats: int = 5,
    device: str = "cpu",
    json: str | None = None,
) -> None:
    """Time a model's ways of deraining side by side: medians, of runs that take turns.

    Args:
        model: name of a checkpoint or a file of weights.
        sizes: of the images, as WIDTHxHEIGHT.
        ways: ``32`` and ``fast`` are the precisions, ``compile`` is torch.compile, ``onnxruntime``
            and ``openvino`` are the backends.
        against: ``plain`` is the same weights as the papers' code runs them: eager, float32, in
            PyTorch's default layout, the whole image at once; ``none`` leaves it out.
        image: a rainy picture, repeated and cut to the sizes; smooth noise if not given.
        stages: stop after this many stages.
        repeats: runs of each way, after one that is not counted.
        device: cpu, cuda ...
        json: file for the same figures.

    Raises:
        ConfigError: an option makes no sense.
        CheckpointError: the model cannot be loaded.
    """
    if repeats < 1:
        raise ConfigError(f"--repeats is {repeats}; it must be 1 or more.")
    if json is not None and (problem := no_place_for(Path(json))):
        raise ConfigError(f"--json {json}: {problem}")
    network = load(model, device=device)
    runs = _ways(network, ways, stages)
    operations = _operations_per_pixel(network, stages)
    pictures = {size: _picture(_parse(size), image).to(network.device) for size in sizes}
    rows: list[Row] = []
    with _plain(network, model, stages) if against == "plain" else nullcontext() as plain:
        runs = ({"plain": plain} if plain else {}) | runs
        for size, rainy in pictures.items():
            rows += _rows(size, rainy, _timed(runs, rainy, repeats), operations)
    _show(rows, f"{model} on {_processor(network.device)}, {torch.get_num_threads()} threads")
    if json is not None:
        with whole(Path(json)) as part:
            part.write_text(json_format.dumps([_finite(row) for row in rows], indent=1) + "\n")


def _finite(row: Row) -> dict[str, Any]:
    """A row for JSON; figures that are not finite become null, as the PSNR of what is equal."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in asdict(row).items()
    }


def _parse(size: str) -> tuple[int, int]:
    width, _, height = size.lower().replace("×", "x").partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise ConfigError(f"a size is WIDTHxHEIGHT, such as 500x500, not {size!r}.")
    return int(width), int(height)


def _picture(size: tuple[int, int], image: str | None) -> Tensor:
    width, height = size
    if image is None:
        noise = torch.rand(1, 3, height + 8, width + 8, generator=torch.Generator().manual_seed(0))
        return torch.nn.functional.avg_pool2d(noise, 9, 1)
    picture, _ = to_tensor(image)
    down, right = -(-height // picture.shape[2]), -(-width // picture.shape[3])
    return picture.repeat(1, 1, down, right)[..., :height, :width].contiguous()


class Once(NamedTuple):
    """What one run gave, its seconds and, where asked for, its peak memory in bytes."""

    result: Tensor
    seconds: float
    memory: int | None = None


Way = Callable[[Tensor, bool], Once]
"""Runs on an image, once; with True it tells the peak memory too."""


def _ways(network: "Derainer", ways: list[str], stages: int | None) -> dict[str, Way]:
    options: dict[str, dict[str, Any]] = {
        "32": {},
        "fast": {"precision": "fast"},
        "compile": {"compile": True},
        "onnxruntime": {"backend": "onnxruntime"},
        "openvino": {"backend": "openvino"},
    }
    unknown = [way for way in ways if way not in options]
    if unknown:
        raise ConfigError(f"there is no way {unknown[0]!r}; choose of {', '.join(options)}.")
    network.requires_grad_(False)

    def run(way: str) -> Callable[[Tensor], Any]:
        return lambda rainy: network.derain(rainy, stages=stages, **options[way])

    return {way: partial(_once, run(way)) for way in ways}


def _once(run: Callable[[Tensor], Tensor], rainy: Tensor, measured: bool) -> Once:
    results: list[Tensor] = []

    def kept() -> None:
        results.append(run(rainy))
        if rainy.device.type == "cuda":
            torch.cuda.synchronize(rainy.device)

    memory = None
    start = time.perf_counter()
    if measured:
        memory = peak_bytes(kept, rainy.device)
    else:
        kept()
    return Once(results[0], time.perf_counter() - start, memory)


@contextmanager
def _plain(network: "Derainer", model: str, stages: int | None) -> Iterator[Way]:
    """The network as the papers' code runs it.

    Without gradients asked for, but not in inference mode: nothing is fused or in place. On
    the CPU in a process of its own: `derain` tunes the C library's allocator, and plain would
    profit from that.
    """
    if network.device.type != "cpu":
        yield partial(_once, partial(network, stages=stages))
        return
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (theirs, model, stages, torch.get_num_threads())
    process = context.Process(target=_serve_plain, args=arguments, daemon=True)
    process.start()
    theirs.close()

    def apart(rainy: Tensor, measured: bool) -> Once:
        try:
            ours.send((rainy.numpy(), measured))
            result, seconds, memory = ours.recv()
        except (EOFError, ConnectionError) as error:
            raise RaincleaveError(
                "the process that ran the plain network ended early, as it does when memory runs "
                "out; try smaller --sizes, or --against none."
            ) from error
        return Once(torch.from_numpy(result), seconds, memory)

    try:
        yield apart
    finally:
        ours.close()
        process.join()


def _serve_plain(pipe: "Connection", model: str, stages: int | None, threads: int) -> None:
    torch.set_num_threads(threads)
    network = load(model).requires_grad_(False)
    with suppress(EOFError, KeyboardInterrupt):  # the other side has all it wanted, or goes too
        while True:
            rainy, measured = pipe.recv()
            result, *rest = _once(partial(network, stages=stages), torch.tensor(rainy), measured)
            pipe.send((result.numpy(), *rest))


def _timed(runs: dict[str, Way], rainy: Tensor, repeats: int) -> dict[str, Once]:
    first = {way: run(rainy, True) for way, run in runs.items()}
    turns = [{way: run(rainy, False).seconds for way, run in runs.items()} for _ in range(repeats)]
    return {
        way: once._replace(seconds=median(turn[way] for turn in turns))
        for way, once in first.items()
    }


def _rows(size: str, rainy: Tensor, timed: dict[str, Once], operations: float) -> list[Row]:
    exact = next((timed[way].result for way in ("plain", "32", "compile") if way in timed), None)
    pixels = rainy[0, 0].numel()
    rows = []
    for way, (result, took, taken) in timed.items():
        error = None if exact is None else (result.clamp(0, 1) - exact.clamp(0, 1)).abs()
        dtype = dtype_of("fast", rainy.device) if way == "fast" else None
        peak = _matmul_peak(rainy.device, dtype or torch.float32)
        rows.append(
            Row(
                size=size,
                way=way,
                milliseconds=took * 1e3,
                megapixels_per_second=pixels / took / 1e6,
                times_plain=timed["plain"].seconds / took if "plain" in timed else None,
                share_of_matmul=operations * pixels / took / peak,
                peak_megabytes=None if taken is None else taken / 2**20,
                psnr_to_float32=None if error is None else _decibels(error),
                worst_levels=None if error is None else float(error.max()) * 255,
            )
        )
    return rows


def _decibels(error: Tensor) -> float:
    return float(-10 * error.double().square().mean().log10())


def _operations_per_pixel(network: "Derainer", stages: int | None) -> float:
    with FlopCounterMode(display=False) as counter:
        network(torch.rand(1, 3, _PROBE, _PROBE, device=network.device), stages)
    return counter.get_total_flops() / _PROBE**2


def _matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second in the best of some large matrix products."""
    a, b = (torch.rand(_MATMUL, _MATMUL, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        float((a @ b)[0, 0])
        best = min(best, time.perf_counter() - start)
    return 2 * _MATMUL**3 / best


def _processor(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    half = ", bfloat16 native" if dtype_of("fast", device) else ""
    return f"{device.type} ({torch.backends.cpu.get_cpu_capability()}{half})"


def _show(rows: list[Row], title: str) -> None:
    table = Table(title=title)
    heads = "size|way|ms|MP/s|× plain|of matmul|peak MB|PSNR to float32|worst pixel"
    for head in heads.split("|"):
        table.add_column(head, justify="left" if head in ("size", "way") else "right")
    for row in rows:
        table.add_row(
            row.size,
            row.way,
            f"{row.milliseconds:.0f}",
            f"{row.megapixels_per_second:.3f}",
            "" if row.times_plain is None else f"{row.times_plain:.2f}",
            f"{row.share_of_matmul:.0%}",
            "" if row.peak_megabytes is None else f"{row.peak_megabytes:.0f}",
            "" if row.psnr_to_float32 is None else f"{row.psnr_to_float32:.1f} dB",
            "" if row.worst_levels is None else f"{row.worst_levels:.2f}",
        )
    Console().print(table)
