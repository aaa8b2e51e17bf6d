"""Bilateral recurrent network.

Ren, Shang, Zhu, Hu, Meng, Zuo: Single Image Deraining Using Bilateral Recurrent Network, 2020.
"""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from raincleave.inference.precision import float32_if
from raincleave.losses import LOSSES, stage_losses
from raincleave.models.derainer import Batch, Derainer, Stage
from raincleave.models.layers import CELLS, Conv, State, res_block_chain

_CHANNELS = 32
_ALPHA, _BETA = 0.45, 0.55  # weights of the rain's and the background's loss, section IV


class Branch(nn.Module):
    """One recurrent branch, F_r or F_x: f_in, a recurrent cell, ResBlocks, f_out (section III-C).

    Args:
        inputs: channels of what the branch is fed.
        cell: ``"lstm"`` or ``"gru"``.
        sees_other: the cell's gates see the other branch's h too.
        res_blocks: ResBlocks behind the cell.
    """

    def __init__(self, inputs: int, cell: str, sees_other: bool, res_blocks: int) -> None:
        super().__init__()
        self.sees_other = sees_other
        self.f_in = Conv(inputs, _CHANNELS)
        self.f_recurrent = CELLS[cell](_CHANNELS * (2 if sees_other else 1), _CHANNELS)
        self.f_res = res_block_chain(res_blocks, _CHANNELS)
        self.f_out = Conv(_CHANNELS, 3)

    @property
    def radius(self) -> int:
        """How far one run of the branch sees, in pixels."""
        return 2 + self.f_recurrent.radius + 2 * len(self.f_res)

    def forward(
        self, images: Sequence[Tensor], state: State | None, other: State | None
    ) -> tuple[Tensor, State]:
        """Images (B, 3, H, W) and both branches' states → this branch's image and new state."""
        seen = (None if other is None else other[0],) if self.sees_other else ()
        with float32_if(state is None):
            z = self.f_in(torch.cat(tuple(images), 1), "relu")
            state = self.f_recurrent(z, state, *seen)
        return self.f_out(self.f_res(state[0])), state


class BRN(Derainer):
    """Two coupled recurrent branches: F_r estimates the rain, F_x the background (section III-C).

    Per stage ``r_t = F_r(y, r_{t−1}; s_r, s_x)``, then ``x_t = F_x(y, x_{t−1}, r_t; s_x, s_r)``
    with the new s_r; ``r_0 = x_0 = y``.

    Args:
        stages: T; the weights do not depend on it. The conference's CRN and BRN ran with 4.
        coupling: which branch's cell sees the other's state: ``"both"`` (BRN), ``"r2x"`` (F_x
            sees h_r), ``"x2r"`` (F_r sees h_x) or ``"none"`` (CRN).
        cell: ``"lstm"`` or ``"gru"`` (BRN-GRU).
        supervise_rain: add the rain's loss to the background's: ``α·L_r + β·L_x`` with α = 0.45,
            β = 0.55 and the truth ``r = y − x``. The paper's best is without.
        **training: ``supervision``, ``loss``, ``checkpoint_stages``, see `Derainer`.
    """

    # The authors' weights: 0.55 of a level at 48 pixels, a seventeenth for each 16 pixels more.
    short_halo: ClassVar[int | None] = 64
    fast_columns: ClassVar[int] = 16

    def __init__(
        self,
        stages: int = 6,
        coupling: Literal["both", "r2x", "x2r", "none"] = "both",
        cell: Literal["lstm", "gru"] = "lstm",
        supervise_rain: bool = False,
        **training: Any,
    ) -> None:
        super().__init__(**training)
        self.save_hyperparameters()
        self.stages, self.supervise_rain = stages, supervise_rain
        self.f_r = Branch(6, cell, coupling in ("both", "x2r"), res_blocks=3)
        self.f_x = Branch(9, cell, coupling in ("both", "r2x"), res_blocks=5)
        # Negative SSIM is as low at −x as at x; the output starts on the side of images.
        nn.init.constant_(self.f_x.f_out.bias, 0.5)

    def stage(
        self, y: Tensor, r: Tensor, x: Tensor, s_r: State | None, s_x: State | None
    ) -> tuple[Tensor, Tensor, State, State]:
        """The images and states of stage t − 1, None before the first → those of stage t."""
        r, s_r = self.f_r((y, r), s_r, s_x)
        x, s_x = self.f_x((y, x, r), s_x, s_r)
        return r, x, s_r, s_x

    def receptive_radius(self, stages: int | None = None) -> int:
        """F_r once, which feeds F_x, and F_x in every stage: 87 pixels for six stages of BRN."""
        return self.f_r.radius + min(stages or self.stages, self.stages) * self.f_x.radius

    def unroll(self, rainy: Tensor) -> Iterator[Stage]:
        """Yield (x_t, r_t) for y, (B, 3, H, W) in [0, 1], of any height and width."""
        r = x = y = rainy
        s_r: State | None = None
        s_x: State | None = None
        for _ in range(self.stages):
            r, x, s_r, s_x = self.run_stage(self.stage, y, r, x, s_r, s_x)
            yield Stage(x, r)

    def losses(self, stages: Sequence[Stage], batch: Batch) -> Tensor:
        """(T,), the loss of each stage's background, with the rain's where that is asked."""
        background = super().losses(stages, batch)
        if not self.supervise_rain:
            return background
        rain = [stage.rain for stage in stages if stage.rain is not None]
        truth = batch["rainy"] - batch["clean"]
        return _ALPHA * stage_losses(LOSSES[self.loss_name], rain, truth) + _BETA * background
