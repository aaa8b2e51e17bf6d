"""Listening to a network while it derains: how far it is, and the stages on the way."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from raincleave.inference.tiling import Reach

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

    def share(self, stages: int) -> float | None:
        """How much is done, 0 … 1, of pieces of so many stages; None where it cannot be told.

        Examples:
            >>> Progress(stage=2, piece=3, pieces=4).share(stages=4)
            0.625
        """
        if self.pieces is None:
            return None
        return min(1.0, (self.piece - 1 + self.stage / stages) / self.pieces)


class Watch:
    """What a network does while it derains one picture.

    Args:
        size: of the picture, (height, width).
        halo: pixels that a piece is seen with on each side.
        tell: is told of every stage that is done; what it raises ends the work.
        keep: makes of a stage of the whole picture what is kept of it; None keeps nothing.
        views: how many times the picture goes through, mirrored or not.
    """

    def __init__(
        self,
        size: tuple[int, int],
        halo: int,
        tell: Callable[[Progress], None],
        keep: "Callable[[Stage], Tensor] | None" = None,
        views: int = 1,
    ) -> None:
        self.size, self.halo, self.tell, self.keep, self.views = size, halo, tell, keep, views
        self.whole: list[Tensor] = []
        """What was kept of each stage; empty where the picture went through in pieces."""
        self.rain: Tensor | None = None
        """The last stage's own rain layer of the whole picture, where the network estimates it."""
        self._piece = 0
        self._pieces: int | None = None

    def listen(self, rainy: Tensor, stages: "Iterator[Stage]") -> "Iterator[Stage]":
        """Pass the stages on as they come."""
        height, width = rainy.shape[-2:]
        whole = self.size == (height, width)
        self.whole.clear()
        if whole or max(height, width) > _LARGEST_LOOK:
            self._piece += 1
            if self._pieces in (None, self.views):
                self._pieces = self.views * (1 if whole else self._count(height, width))
        # Memory that runs out makes more pieces than were counted, a look one too many.
        piece = min(max(1, self._piece), self._pieces or 1)
        for number, stage in enumerate(stages, start=1):
            if whole and self.keep is not None:
                self.whole.append(self.keep(stage))
                self.rain = stage.rain
            self.tell(Progress(number, piece, self._pieces))
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


def halo_of(model: "Derainer", asked: Literal["exact"] | int | None = None) -> int:
    """The halo in pixels that the model's `derain` sees a piece with; see `Reach.halo`."""
    reach = Reach(model.receptive_radius(), model.short_halo, model.size_multiple)
    return reach.halo(asked) or 0


@torch.inference_mode()
def count_stages(model: "Derainer") -> int:
    """How many stages a network has."""
    like = next(model.parameters())
    side = 16 * model.size_multiple
    probe = torch.full((1, 3, side, side), 0.5, device=like.device, dtype=like.dtype)
    return sum(1 for _ in model.unroll(probe))
