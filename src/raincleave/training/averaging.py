"""The average of the weights that our own recipes test and export."""

from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from raincleave.errors import ConfigError


class WarmupEMA(WeightAveraging):
    r"""Exponential moving average of the weights whose memory grows with the training.

    With :math:`n` steps averaged, :math:`\min(d, (1 + n) / (10 + n))` of the old average is kept.
    So the average spans about the last tenth of the steps, until the full ``decay`` spans less:
    after 300 steps of fine-tuning nothing is left of the weights it began with, of which a constant
    0.998 would keep more than half.

    Validation, testing and the exported weights are the average's.

    Args:
        decay: share of the old average that the longest memory keeps; in [0, 1).

    Examples:
        >>> import torch
        >>> ema, old, new = WarmupEMA(decay=0.998), torch.ones(1), torch.zeros(1)
        >>> [round(float(ema.averaged(old, new, torch.tensor(n))), 3) for n in (0, 80, 8000)]
        [0.1, 0.9, 0.998]
    """

    def __init__(self, decay: float = 0.998) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"WarmupEMA's decay is {decay}; it must be at least 0 and below 1.")
        self.decay = decay
        super().__init__(avg_fn=self.averaged)

    def averaged(self, old: Tensor, new: Tensor, count: Tensor) -> Tensor:
        """The average after one more step.

        Args:
            old: a weight's average so far, any shape.
            new: the weight now, of the same shape.
            count: steps averaged before this one; a scalar tensor, that a GPU need not wait for.
        """
        return old + (9 / (10 + count)).clamp(min=1 - self.decay) * (new - old)
