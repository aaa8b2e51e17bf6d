"""The models that the page offers, each loaded once."""

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from raincleave.inference.watching import count_stages

if TYPE_CHECKING:
    from raincleave.models import Derainer


class Models:
    """Models by the names that the page shows; a visitor can ask for no others.

    Args:
        refs: names or files, as `raincleave.load` takes them.
        load: loads one and puts it on the device.
    """

    def __init__(self, refs: Sequence[str], load: "Callable[[str], Derainer]") -> None:
        self._refs = _labels(refs)
        self._load = load
        self._loaded: dict[str, tuple[Derainer, int]] = {}
        self._lock = Lock()

    @property
    def names(self) -> list[str]:
        """What the page lists, in the order given."""
        return list(self._refs)

    def get(self, name: str) -> "Derainer":
        """The model of that name.

        Raises:
            CheckpointError: it cannot be loaded.
        """
        return self._get(name)[0]

    def stages(self, name: str) -> int:
        """How many stages it has.

        Raises:
            CheckpointError: it cannot be loaded.
        """
        return self._get(name)[1]

    def _get(self, name: str) -> "tuple[Derainer, int]":
        with self._lock:
            if name not in self._loaded:
                model = self._load(self._refs[name])
                self._loaded[name] = (model, count_stages(model))
            return self._loaded[name]


def _labels(refs: Sequence[str]) -> dict[str, str]:
    """Label → reference: a file is called by its name, by its path where two have the same."""
    unique = list(dict.fromkeys(refs))
    names = [Path(ref).name if Path(ref).exists() else ref for ref in unique]
    pairs = zip(names, unique, strict=True)
    return {ref if names.count(name) > 1 else name: ref for name, ref in pairs}
