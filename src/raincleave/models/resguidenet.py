"""Residual-guide network.

Fan, Wu, Fu, Huang, Ding: Residual-Guide Feature Fusion Network for Single Image Deraining, 2018.
"""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from raincleave.inference.precision import as_computed, convolve, plus
from raincleave.models.derainer import Derainer, LossName, Stage, Supervision
from raincleave.models.layers import Conv

_SLOPE = 0.2  # LeakyReLU; not published, the same group's later network has 0.2


class Block(nn.Module):
    """F_k, a recursive block guided by the residuals of the blocks before it (section 3.2).

    ``s_0 = σ(conv(x_{k−1}))``; R times ``s ← σ(B(cat(σ(A(cat(s, g))), g))) + s_0``;
    ``r_k = out(cat(s, g))``, where g = cat(r_1 … r_{k−1}) and σ is a LeakyReLU. A and B are shared
    by all recursions.

    Args:
        guides: number of earlier residuals, k − 1.
        recursions: R.
        channels: feature channels.
    """

    def __init__(self, guides: int, recursions: int, channels: int) -> None:
        super().__init__()
        self.recursions = recursions
        self.f_in = Conv(3, channels)
        self.a = Conv(channels + 3 * guides, channels)
        self.b = Conv(channels + 3 * guides, channels)
        self.f_out = Conv(channels + 3 * guides, 3)

    def forward(self, x: Tensor, guides: Sequence[Tensor]) -> Tensor:
        """x_{k−1} and r_1 … r_{k−1}, each (B, 3, H, W) → r_k, (B, 3, H, W)."""
        s_0 = s = self.f_in(x, "leaky_relu", _SLOPE)
        g = torch.cat(tuple(guides), 1) if guides else None
        a, b = _Guided(self.a, g), _Guided(self.b, g)
        for _ in range(self.recursions):
            s = plus(b(a(s)), s_0)
        return self.f_out(s if g is None else torch.cat((s, g), 1))


class _Guided:
    """``σ(conv(cat(s, g)))`` for one g and several s: what g contributes is computed once."""

    def __init__(self, conv: Conv, g: Tensor | None) -> None:
        guides = 0 if g is None else g.shape[1]
        weight = as_computed(conv.weight)
        sizes = weight.shape[1] - guides, guides
        self.weight, of_guides = weight.split(sizes, 1)
        self.bias: Tensor | None = conv.bias
        self.part = None
        if g is not None:
            # With the bias, which need not be added anew each time either.
            self.part, self.bias = convolve(g, of_guides, conv.bias), None

    def __call__(self, s: Tensor) -> Tensor:
        return convolve(s, self.weight, self.bias, "leaky_relu", _SLOPE, added=self.part)


class ResGuideNet(Derainer):
    """Cascaded blocks that predict the negative rain, each guided by all before (section 3).

    ``r_k = F_k(x_{k−1}; r_1 … r_{k−1})``, ``x_k = y + r_k``, ``x_0 = y``; the output merges
    x_1 … x_N by a 1×1 convolution. It unrolls into N + 1 stages: x_1 … x_N and the merged image.
    Stopping after k stages is the paper's ResGuideNet_k, detached from the same weights.

    Args:
        blocks: N.
        recursions: how often each block's two convolutions are run.
        channels: feature channels.
        **training: ``supervision``, ``loss``, ``checkpoint_stages``, see `Derainer`.
    """

    published_supervision: ClassVar[Supervision] = "recursive"
    published_loss: ClassVar[LossName] = "mse_log_ssim"

    def __init__(
        self, blocks: int = 5, recursions: int = 5, channels: int = 16, **training: Any
    ) -> None:
        super().__init__(**training)
        self.save_hyperparameters()
        self.recursions = recursions
        self.blocks = nn.ModuleList(Block(k, recursions, channels) for k in range(blocks))
        self.merge = Conv(3 * blocks, 3, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
        # The merge starts as the plain mean of the blocks' images.
        with torch.no_grad():
            self.merge.weight.copy_(torch.eye(3).repeat(1, blocks)[..., None, None] / blocks)

    def receptive_radius(self, stages: int | None = None) -> int:
        """f_in, two convolutions in each recursion and f_out of every block: 60 pixels for five."""
        count = len(self.blocks)
        return min(stages or count, count) * (2 + 2 * self.recursions)

    def unroll(self, rainy: Tensor) -> Iterator[Stage]:
        """Yield x_1 … x_N and the merged image for y, (B, 3, H, W) in [0, 1], of any size."""
        x = y = rainy
        residuals: list[Tensor] = []
        backgrounds: list[Tensor] = []
        for block in self.blocks:
            residuals.append(self.run_stage(block, x, tuple(residuals)))
            x = y + residuals[-1]
            backgrounds.append(x)
            yield Stage(x)
        yield Stage(self.merge(torch.cat(backgrounds, 1)))

    def stage_weights(self, count: int) -> list[float]:
        """1 / (N + 1) for each block and for the merged image (section 3.3)."""
        if self.supervision == "single":
            return super().stage_weights(count)
        return [1 / count] * count

    def published_optimizer(self) -> torch.optim.Optimizer:
        """RMSProp at 1e-3 (section 4.1)."""
        return torch.optim.RMSprop(self.parameters(), lr=1e-3)
