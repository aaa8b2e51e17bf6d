"""Learning rates over a training: our own recipes', and the papers'."""

import math
from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class _OfSteps(LambdaLR):
    """A rate that follows from the step alone: what is saved is the step, not the shape.

    The shape is the configuration's, so a resumed training may be made longer.
    """

    def state_dict(self) -> dict[str, Any]:
        """The step reached."""
        return {"last_epoch": self.last_epoch, "_step_count": self._step_count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the step reached."""
        self.last_epoch = state_dict["last_epoch"]
        self._step_count = state_dict["_step_count"]
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


class PublishedDecay(_OfSteps):
    """The papers' learning rate: multiplied with ``decay`` at some shares of the training.

    It moves with every optimiser step.

    Args:
        optimizer: whose learning rate is scheduled.
        total_steps: length of the training in optimiser steps; infinite, or below 0 as Lightning
            has it where it does not know, there is no decay.
        decay: the factor.
        shares: of the training, in (0, 1), at which it is applied.

    Examples:
        >>> import torch
        >>> optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> schedule = PublishedDecay(optimizer, total_steps=100, decay=0.5)
        >>> [schedule.factor(step) for step in (0, 29, 30, 50, 99)]
        [1.0, 1.0, 0.5, 0.25, 0.125]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: float,
        decay: float,
        shares: Sequence[float] = (0.3, 0.5, 0.8),
    ) -> None:
        self.decay = float(decay)
        ends = 0 <= total_steps < float("inf")
        self.milestones = [int(total_steps * share) for share in shares] if ends else []
        super().__init__(optimizer, self.factor)

    def factor(self, step: int) -> float:
        """The rate of optimiser step ``step``, from 0 up, over the full rate; in (0, 1]."""
        return self.decay ** sum(step >= start for start in self.milestones)


class WarmupCosine(_OfSteps):
    """Learning rate rising linearly over the first steps, then falling along a cosine to a floor.

    It moves with every optimiser step. ``raincleave fit`` fills in the length of the training.

    Args:
        optimizer: whose learning rate is scheduled.
        total_steps: length of the training in optimiser steps; None is the trainer's.
        warmup_steps: steps until the full rate.
        floor: last rate over the full one.

    Examples:
        >>> import torch
        >>> optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> schedule = WarmupCosine(optimizer, total_steps=100, warmup_steps=10)
        >>> [round(schedule.factor(step), 3) for step in (0, 9, 55, 100)]
        [0.1, 1.0, 0.505, 0.01]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int | None = None,
        warmup_steps: int = 100,
        floor: float = 0.01,
    ) -> None:
        self.total_steps, self.warmup_steps, self.floor = total_steps, warmup_steps, floor
        super().__init__(optimizer, self.factor)

    def factor(self, step: int) -> float:
        """The rate of optimiser step ``step``, from 0 up, over the full rate; in (0, 1]."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.total_steps is None:  # before the training has started
            return 1.0
        done = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
