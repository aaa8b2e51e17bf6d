"""How much memory a network takes for each pixel, and how much of it there is."""

import ctypes
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from raincleave.errors import ImageError

CPU_BYTES = 768 << 20
"""What a tile may take on the CPU, however much is free: larger ones save hardly any work."""
_PROBE = 64
_KERNEL = 7
"""No kernel is larger, and no feature map of the probe as small, at three poolings."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of mallopt(3)
_MADV_HUGEPAGE, _HUGE = 14, 2 << 20  # of madvise(2), and the size of such a page
_IN_HUGE_PAGES = 1 << 30
"""So much of what is kept lies in huge pages; address space, of which only what is used counts."""


class _PeakBytes(TorchDispatchMode):
    """Adds up the images and features alive at once, on whatever device they are.

    Weights, which do not grow with the image, are told by their small height and width.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor) and tensor.ndim == 4 and min(tensor.shape[2:]) > _KERNEL:
                self._note(tensor.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known.add(key)
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.alive -= size


def bytes_per_pixel(network: Callable[[Tensor], Tensor]) -> int:
    """Peak memory of a network for each pixel it is given, measured on a small image."""
    counter = _PeakBytes()
    with counter:
        network(torch.full((1, 3, _PROBE, _PROBE), 0.5))
    return max(1, counter.peak // _PROBE**2)


def usable_bytes(device: torch.device) -> int:
    """What a network may take on a device: most of what is free, and on the CPU never much."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(0.8 * (free + kept))
    if device.type == "mps":
        free = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
        return max(0, int(0.8 * free))
    return min(CPU_BYTES, _free_bytes() // 2)


def _free_bytes() -> int:
    """Free memory of the computer, of its container where that has less; a guess if untold."""
    free = []
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            free.append(int(line.split()[1]) * 1024)
    limit, used = (_lines(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limit and used and limit[0] != "max":
        # Files lately read and written count as used, but make room when it is needed.
        stat = (line.split() for line in _lines("/sys/fs/cgroup/memory.stat"))
        files = sum(int(n) for name, n in stat if name in ("active_file", "inactive_file"))
        free.append(int(limit[0]) - int(used[0]) + files)
    return max(0, min(free, default=2 * CPU_BYTES))


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


# The last is oneDNN's, of which nothing else is known that would make it say so.
_FULL = (
    "not enough memory",
    "out of memory",
    "can't allocate memory",
    "could not create a primitive",
)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; on the CPU torch has no class for it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _FULL)


@contextmanager
def told_if_full() -> Iterator[None]:
    """Make an error of our own of memory that runs out.

    Raises:
        ImageError: memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise ImageError("the image does not fit into memory.") from error


def peak_bytes(run: Callable[[], object], device: torch.device) -> int | None:
    """The most memory that a call takes beyond what is taken already; None if it cannot be told.

    On CUDA from PyTorch's own books, on Linux from the kernel's, which count the process's every
    library.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    give_back()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    except OSError:
        run()
        return None
    before = _status("VmRSS:")
    run()
    return _status("VmHWM:") - before


def _status(name: str) -> int:
    for line in _lines("/proc/self/status"):
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0


@contextmanager
def keeping_memory(device: torch.device) -> Iterator[None]:
    """Within, the C library keeps what one tensor lets go for the next.

    Left to itself, glibc returns large pieces to the system at once and asks for new ones, which
    the system fills with zeros: a quarter of the time a network takes in float32, a twentieth of a
    training step in bfloat16. Elsewhere this does nothing.
    """
    if device.type != "cpu" or not _allocator(_MMAP_MAX, 0):
        yield
        return
    _allocator(_TRIM_THRESHOLD, 2**31 - 1)
    _ask_for_huge_pages()
    try:
        yield
    finally:
        # What glibc itself would have come to with tensors of this size.
        _allocator(_MMAP_MAX, 65536)
        _allocator(_MMAP_THRESHOLD, 32 << 20)
        _allocator(_TRIM_THRESHOLD, 64 << 20)
        give_back()


def _allocator(setting: int, value: int) -> bool:
    try:
        return bool(ctypes.CDLL(None).mallopt(setting, value))
    except (OSError, AttributeError, TypeError):  # not Linux, another C library, Windows
        return False


def _ask_for_huge_pages() -> None:
    """Have what the C library hands out next in pages of 2 MiB, where the system allows them.

    Features fill hundreds of MiB; in pages of 4 KiB the processor spends a good part of each pass
    over them on looking up where they are.
    """
    with suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(None)
        library.malloc.restype = ctypes.c_void_p
        library.malloc.argtypes = [ctypes.c_size_t]
        library.free.argtypes = [ctypes.c_void_p]
        library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        start = library.malloc(_IN_HUGE_PAGES)
        if start is not None:
            skipped = -start % _HUGE
            library.madvise(start + skipped, _IN_HUGE_PAGES - _HUGE, _MADV_HUGEPAGE)
            library.free(start)


def give_back() -> None:
    """Let the C library return what it keeps for later."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
