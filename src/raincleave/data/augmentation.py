"""Rendered rain as a kornia augmentation, for pipelines that are kornia's."""

from typing import Any

import torch
from kornia.augmentation import IntensityAugmentationBase2D
from torch import Tensor

from raincleave.data.synthesis import Rain, RainRenderer


class RandomRain(IntensityAugmentationBase2D):
    """`RainRenderer` with kornia's semantics: composes, replays ``params``, returns the image.

    Geometric augmentations that follow it turn the rain with the picture.

    Args:
        preset: as for `RainRenderer`.
        p: probability that an image gets rain.
        same_on_batch: one rain for the whole batch.
        keepdim: return (3, H, W) for (3, H, W).
        **renderer: further arguments of `RainRenderer`; ``generator`` seeds the rain.
    """

    def __init__(
        self,
        preset: str | Rain = "heavy",
        p: float = 0.5,
        same_on_batch: bool = False,
        keepdim: bool = False,
        **renderer: Any,
    ) -> None:
        super().__init__(p=p, same_on_batch=same_on_batch, keepdim=keepdim)
        self.renderer = RainRenderer(preset, same_on_batch=same_on_batch, **renderer)

    def generate_parameters(self, batch_shape: tuple[int, ...]) -> dict[str, Tensor]:
        """A seed, from which the same rain falls again when the parameters are replayed."""
        generator = self.renderer.generator
        return {"seed": torch.randint(2**31, (batch_shape[0],), generator=generator)}

    def apply_transform(
        self,
        input: Tensor,
        params: dict[str, Tensor],
        flags: dict[str, Any],
        transform: Tensor | None = None,
    ) -> Tensor:
        """(B, 3, H, W) in [0, 1] → (B, 3, H, W) in [0, 1]."""
        generator = torch.Generator().manual_seed(int(params["seed"][0]))
        return self.renderer(input, generator=generator).rainy
