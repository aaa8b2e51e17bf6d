"""Recurrent RLCN-guided attention network.

Li, Monno, Okutomi: Recurrent RLCN-Guided Attention Network for Single Image Deraining, 2021.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raincleave.errors import ConfigError
from raincleave.inference.precision import plus
from raincleave.models.derainer import Derainer, Stage
from raincleave.models.layers import Conv, ConvLSTM, State, pad_to_multiple, rlcn

_SCALES = 4
_LEAST_WINDOW = 3


class RecurrentBlock(nn.Module):
    """RRB: conv, ConvLSTM with its scale's own state, conv, shortcut (section 2.4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = Conv(channels, channels)
        self.lstm = ConvLSTM(channels, channels)
        self.conv2 = Conv(channels, channels)

    def forward(self, h: Tensor, state: State | None) -> tuple[Tensor, State]:
        """(B, C, H, W) and the scale's state, None before the first stage → features, new state."""
        z = self.conv1(h, "relu")
        state = self.lstm(z, state)
        return F.relu(plus(self.conv2(state[0]), h)), state


class Attention(nn.Module):
    """RLCN-GAM: ``M = σ(W_A * ReLU(W * F + W_D * F_dec + W_L * L))``, ``F' = M ∘ F`` (eq. 3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.w = Conv(channels, channels, 1)
        self.w_d = Conv(channels, channels, 1)
        self.w_l = Conv(3, channels)
        self.w_a = Conv(channels, 1, 1)

    def forward(self, f: Tensor, f_dec: Tensor, l: Tensor) -> tuple[Tensor, Tensor]:  # noqa: E741
        """Encoder and decoder features (B, C, H, W), L of this scale → F', the map (B, 1, H, W)."""
        m = self.w_a(F.relu(self.w(f) + self.w_d(f_dec) + self.w_l(l))).sigmoid()
        return m * f, m


class DecoderBlock(nn.Module):
    """Upsample, attend, concatenate, residual block, for one scale of the decoder (section 2.1)."""

    def __init__(self, below: int, channels: int, attention: bool) -> None:
        super().__init__()
        self.up = Conv(below, channels)
        self.attention = Attention(channels) if attention else None
        self.fuse = Conv(2 * channels, channels)
        self.conv1 = Conv(channels, channels)
        self.conv2 = Conv(channels, channels)

    def forward(self, deep: Tensor, f: Tensor, l: Tensor) -> tuple[Tensor, Tensor | None]:  # noqa: E741
        """Deeper features, the encoder's and L of this scale → features, attention map."""
        f_dec = self.up(F.interpolate(deep, scale_factor=2, mode="nearest"), "relu")
        m = None
        if self.attention is not None:
            f, m = self.attention(f, f_dec, l)
        h = self.fuse(torch.cat((f, f_dec), 1), "relu")
        return F.relu(plus(self.conv2(self.conv1(h, "relu")), h)), m


class Trace(NamedTuple):
    """What one stage of RRANet shows besides its image."""

    background: Tensor
    """B_t, (B, 3, H, W)."""
    states: list[State]
    """The ConvLSTM states of the four scales, finest first."""
    attention: list[Tensor]
    """The maps M of the decoder's three scales, coarsest first, each (B, 1, h, w) in [0, 1]."""


class RRANet(Derainer):
    """A recurrent U-Net whose skip connections attend to where RLCN sees rain (section 2).

    Stage t takes cat(I, L, B_{t−1}), B_0 = I, and adds a negative rain layer to I. Sizes that are
    not multiples of 8 are reflected up to one and cropped back.

    Args:
        stages: number of recurrent stages; not published, 6 is the authors' next network's.
        width: channels of the finest scale, doubled at each of the three poolings; not published.
        window: side of RLCN's neighbourhood in pixels, odd; not published.
        sees_rlcn: feed L to the encoder and the attention (off for the paper's ablation).
        attention: RLCN-GAM on the skip connections (off for the paper's ablation).
        **training: ``supervision``, ``loss``, ``checkpoint_stages``, see `Derainer`.
    """

    size_multiple: ClassVar[int] = 2 ** (_SCALES - 1)
    # rranet.heavy, 20 images: 0.002 of a level at 96 pixels, 1.4 at 64; a third more, for the
    # images were hardly larger than a tile with its halo.
    short_halo: ClassVar[int | None] = 128

    def __init__(
        self,
        stages: int = 6,
        width: int = 32,
        window: int = 9,
        sees_rlcn: bool = True,
        attention: bool = True,
        **training: Any,
    ) -> None:
        super().__init__(**training)
        self.save_hyperparameters()
        if window < _LEAST_WINDOW or window % 2 == 0:
            raise ConfigError(f"RRANet's window is an odd number from 3 up, not {window}.")
        self.stages, self.window, self.sees_rlcn = stages, window, sees_rlcn
        widths = [width * 2**s for s in range(_SCALES)]
        self.f_in = nn.ModuleList(
            Conv(below, here) for below, here in zip([9, *widths[:-1]], widths, strict=True)
        )
        self.encoder = nn.ModuleList(RecurrentBlock(here) for here in widths)
        self.decoder = nn.ModuleList(
            DecoderBlock(widths[s + 1], widths[s], attention) for s in reversed(range(_SCALES - 1))
        )
        self.f_out = Conv(width, 3, 1)

    def local_contrast(self, rainy: Tensor) -> Tensor:
        """L, the RLCN image, (B, 3, H, W) in [0, 1]; zeros where the network must not see it."""
        return rlcn(rainy, self.window) if self.sees_rlcn else torch.zeros_like(rainy)

    def stage(self, i: Tensor, ls: list[Tensor], b: Tensor, states: list[State] | None) -> Trace:
        """I, L at four scales (finest first), B_{t−1} and the states → B_t, new states, maps."""
        h = torch.cat((i, ls[0], b), 1)
        features, new_states = [], []
        for s, (f_in, block) in enumerate(zip(self.f_in, self.encoder, strict=True)):
            h = f_in(h if s == 0 else F.max_pool2d(h, 2), "relu")
            h, state = block(h, None if states is None else states[s])
            features.append(h)
            new_states.append(state)
        maps = []
        for s, block in zip(reversed(range(_SCALES - 1)), self.decoder, strict=True):
            h, m = block(h, features[s], ls[s])
            maps += [] if m is None else [m]
        return Trace(i + self.f_out(h), new_states, maps)

    def trace(self, rainy: Tensor) -> Iterator[Trace]:
        """Yield what each stage computes, attention maps included, at the padded size."""
        b = i = pad_to_multiple(rainy, self.size_multiple)
        ls = [self.local_contrast(i)]
        for _ in range(_SCALES - 1):
            ls.append(F.max_pool2d(ls[-1], 2))
        states: list[State] | None = None
        for _ in range(self.stages):
            trace = self.run_stage(self.stage, i, ls, b, states)
            b, states = trace.background, trace.states
            yield trace

    def receptive_radius(self, stages: int | None = None) -> int:
        """Four convolutions at each scale of the encoder and the decoder, the grid, and RLCN.

        A pixel sees all of the coarsest cell that holds it, once. 539 pixels for six stages.
        """
        encoder = sum(4 * 2**s for s in range(_SCALES))
        decoder = sum(4 * 2**s for s in range(_SCALES - 1))
        local = self.window // 2 if self.sees_rlcn else 0
        grid = self.size_multiple - 1
        return min(stages or self.stages, self.stages) * (encoder + decoder) + grid + local

    def unroll(self, rainy: Tensor) -> Iterator[Stage]:
        """Yield B_1 … B_N for I, (B, 3, H, W) in [0, 1], of any height and width."""
        height, width = rainy.shape[-2:]
        for trace in self.trace(rainy):
            yield Stage(trace.background[..., :height, :width])
