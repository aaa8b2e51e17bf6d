"""Listening to a network while it derains: how far it is, and the stages on the way."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from raincleave.models import Derainer, Stage

_LARGEST_LOOK = 192
"""Pieces no larger may be looks that `derain` takes before its work: for "auto", for memory."""


class Progress(NamedTuple):
    """How far a network has come."""

    stage: int
    piece: int
    """Of a picture too large to go through the network at once; from 1 up."""
    pieces: int | None
    """None where it cannot be told."""


class Watch:
    """What a network does while it derains one picture.

    Args:
        size: of the picture, (height, width).
        halo: pixels that a piece is seen with on each side.
        keep: makes of a stage of the whole picture what is kept of it.
        tell: is told of every stage that is done; what it raises ends the work.
    """

    def __init__(
        self,
        size: tuple[int, int],
        halo: int,
        keep: "Callable[[Stage], Tensor]",
        tell: Callable[[Progress], None],
    ) -> None:
        self.size, self.halo, self.keep, self.tell = size, halo, keep, tell
        self.whole: list[Tensor] = []
        """What was kept of each stage; empty where the picture went through in pieces."""
        self.rain: Tensor | None = None
        """The last stage's own rain layer of the whole picture, where the network estimates it."""
        self._piece = 0
        self._pieces: int | None = None

    def listen(self, rainy: Tensor, stages: "Iterator[Stage]") -> "Iterator[Stage]":
        """Pass the stages on as they come."""
        whole = tuple(rainy.shape[-2:]) == self.size
        looking = not whole and max(rainy.shape[-2:]) <= _LARGEST_LOOK
        if whole:
            self.whole.clear()
        elif not looking:
            self._piece += 1
            self._pieces = self._pieces or self._count(*rainy.shape[-2:])
        for number, stage in enumerate(stages, start=1):
            if whole:
                self.whole.append(self.keep(stage))
                self.rain = stage.rain
            self.tell(Progress(number, max(1, self._piece), 1 if whole else self._pieces))
            yield stage

    def _count(self, height: int, width: int) -> int:
        """How many pieces there are, by the first: at the corner, with a halo on two sides."""
        sides = zip((height, width), self.size, strict=True)
        counts = [1 if seen == full else ceil(full / (seen - self.halo)) for seen, full in sides]
        return counts[0] * counts[1]


@contextmanager
def watching(model: "Derainer", watch: Watch) -> Iterator[None]:
    """Within, the watch hears of every stage; what the model computes stays the same.

    Of one thread at a time.
    """
    unroll = model.unroll
    model.__dict__["unroll"] = lambda rainy: watch.listen(rainy, unroll(rainy))
    try:
        yield
    finally:
        del model.__dict__["unroll"]


@torch.inference_mode()
def count_stages(model: "Derainer") -> int:
    """How many stages a network has."""
    like = next(model.parameters())
    side = 16 * model.size_multiple
    probe = torch.full((1, 3, side, side), 0.5, device=like.device, dtype=like.dtype)
    return sum(1 for _ in model.unroll(probe))
