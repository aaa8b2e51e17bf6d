"""Dual recursive network.

Cai, Li, Ren, Wang: Dual Recursive Network for Fast Image Deraining, 2019.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from raincleave.models.derainer import Derainer, Stage, Supervision
from raincleave.models.layers import Conv, ResBlock


class DRN(Derainer):
    """One small ResNet, run T times on its own result, its ResBlocks R times inside each stage.

    ``x_t = y + f_out(f_rec(f_in(cat(y, x_{t−1}))))``, ``x_0 = y`` (DRN, eq. 1).

    Args:
        stages: T, how often the whole network is run.
        recursions: R, how often the ResBlocks are run in each stage.
        res_blocks: ResBlocks in f_rec, of their own weights. The text of the paper says one; its
            table of 10,595 parameters, and the authors' weights, have two.
        channels: feature channels.
        **training: ``supervision``, ``loss``, ``checkpoint_stages``, see `Derainer`.
    """

    # drn-7x7, 8 images: 0.20 of a level at 96 pixels, and 6.6 at 64; a little more, to be sure.
    short_halo: ClassVar[int | None] = 112
    published_supervision: ClassVar[Supervision] = "recursive"
    published_decay: ClassVar[float] = 0.5

    def __init__(
        self,
        stages: int = 7,
        recursions: int = 7,
        res_blocks: int = 2,
        channels: int = 16,
        **training: Any,
    ) -> None:
        super().__init__(**training)
        self.save_hyperparameters()
        self.stages, self.recursions = stages, recursions
        self.f_in = Conv(6, channels)
        # f_in ends in a ReLU, so every ResBlock meets h ≥ 0.
        self.f_rec = nn.ModuleList(ResBlock(channels, nonnegative=True) for _ in range(res_blocks))
        self.f_out = Conv(channels, 3)

    def stage(self, y: Tensor, x: Tensor) -> Tensor:
        """x_{t−1} → x_t, both (B, 3, H, W)."""
        h = self.f_in(torch.cat((y, x), 1), "relu")
        for _ in range(self.recursions):
            for block in self.f_rec:
                h = block(h)
        return y + self.f_out(h)

    def receptive_radius(self, stages: int | None = None) -> int:
        """T·(1 + 2·2·R + 1) for two ResBlocks: 210 pixels for 7×7."""
        per_stage = 2 + 2 * len(self.f_rec) * self.recursions
        return min(stages or self.stages, self.stages) * per_stage

    def unroll(self, rainy: Tensor) -> Iterator[Stage]:
        """Yield x_1 … x_T for y, (B, 3, H, W) in [0, 1], of any height and width."""
        x = y = rainy
        for _ in range(self.stages):
            x = self.run_stage(self.stage, y, x)
            yield Stage(x)

    def stage_weights(self, count: int) -> list[float]:
        """λ_t = 0.1·t, and 1 more for the last stage (DRN, section 3)."""
        if self.supervision == "single":
            return super().stage_weights(count)
        return [0.1 * t for t in range(1, count)] + [0.1 * count + 1]
