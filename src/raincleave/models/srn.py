"""Single recurrent network.

Ren, Shang, Zhu, Hu, Meng, Zuo: Single Image Deraining Using Bilateral Recurrent Network, 2020.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from raincleave.inference.precision import float32_if
from raincleave.models.derainer import Derainer, Stage
from raincleave.models.layers import CELLS, Conv, State, res_block_chain

_CHANNELS = 32


class SRN(Derainer):
    """A recurrent cell carries features from stage to stage, ResBlocks refine them (III-A, III-B).

    ``z = ReLU(f_in(cat(y, x_{t−1})))``, ``s_t = f_recurrent(z, s_{t−1})``,
    ``x_t = y + f_out(f_res(h_t))``, ``x_0 = y``. The same network was published a year earlier as
    PReNet.

    Args:
        stages: T; the weights do not depend on it.
        mapping: ``"residual"`` adds y to the network's output; ``"direct"`` does not
            (SRN-LSTM, SRN-GRU, SRN_x).
        cell: ``"lstm"`` or ``"gru"``.
        sees_rainy: False for SRN_x, whose stages see x_{t−1} alone.
        res_blocks: ResBlocks in a stage; 18 for SRN+.
        **training: ``supervision``, ``loss``, ``checkpoint_stages``, see `Derainer`.
    """

    # The authors' weights, 20 images: 0.20 of a level, and 1.15 at 48 pixels.
    short_halo: ClassVar[int | None] = 56
    fast_columns: ClassVar[int] = 16

    def __init__(
        self,
        stages: int = 6,
        mapping: Literal["residual", "direct"] = "residual",
        cell: Literal["lstm", "gru"] = "lstm",
        sees_rainy: bool = True,
        res_blocks: int = 5,
        **training: Any,
    ) -> None:
        super().__init__(**training)
        self.save_hyperparameters()
        self.stages, self.mapping, self.sees_rainy = stages, mapping, sees_rainy
        self.f_in = Conv(6 if sees_rainy else 3, _CHANNELS)
        self.f_recurrent = CELLS[cell](_CHANNELS, _CHANNELS)
        self.f_res = res_block_chain(res_blocks, _CHANNELS)
        self.f_out = Conv(_CHANNELS, 3)
        if mapping == "direct":
            # Negative SSIM is as low at −x as at x; the output starts on the side of images.
            nn.init.constant_(self.f_out.bias, 0.5)

    def features(self, y: Tensor, x: Tensor) -> Tensor:
        """Z of a stage, (B, 32, H, W)."""
        return self.f_in(torch.cat((y, x), 1) if self.sees_rainy else x, "relu")

    def stage(self, y: Tensor, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """x_{t−1} and the cell's state, None before the first stage → x_t and the new state."""
        with float32_if(state is None):
            z = self.features(y, x)
            state = self.f_recurrent(z, state)
        out = self.f_out(self.f_res(state[0]))
        return (y + out if self.mapping == "residual" else out), state

    def receptive_radius(self, stages: int | None = None) -> int:
        """T·(f_in + cell + ResBlocks + f_out): 78 pixels for six stages of SRN."""
        per_stage = 2 + self.f_recurrent.radius + 2 * len(self.f_res)
        return min(stages or self.stages, self.stages) * per_stage

    def unroll(self, rainy: Tensor) -> Iterator[Stage]:
        """Yield x_1 … x_T for y, (B, 3, H, W) in [0, 1], of any height and width."""
        x = y = rainy
        state: State | None = None
        for _ in range(self.stages):
            x, state = self.run_stage(self.stage, y, x, state)
            yield Stage(x)
