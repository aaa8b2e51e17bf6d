r"""A network of one's own: it writes ``__init__`` and ``unroll``, and everything else works.

    python examples/new_architecture.py            # trains two steps, derains, saves, loads

With this folder on the Python path, the command line knows it as well:

    PYTHONPATH=examples raincleave fit --model new_architecture.Sieve --data SyntheticRain \
        --data.root clean_photos

Two steps make no derainer: what is written is hardly changed from the rainy picture.
"""

import argparse
import logging
from pathlib import Path

import torch
from lightning import Trainer
from torch import nn

from raincleave import Derainer, Stage, load
from raincleave.data.datamodules import SyntheticRain

HERE = Path(__file__).parent


class Sieve(Derainer):
    """x_t = x_{t−1} − s(cat(y, x_{t−1})), where s sees far by dilation; x_0 = y.

    Args:
        stages: how often s is run.
        channels: feature channels.
        **training: ``supervision``, ``loss``, ``checkpoint_stages``, see `Derainer`.
    """

    def __init__(self, stages: int = 3, channels: int = 8, **training: str | bool | None) -> None:
        super().__init__(**training)
        self.save_hyperparameters()
        self.stages = stages
        self.sieve = nn.Sequential(
            nn.Conv2d(6, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=2, dilation=2),
            nn.ReLU(),
            nn.Conv2d(channels, 3, 3, padding=1),
        )

    def unroll(self, rainy):
        """Yield x_1 … x_T for y, (B, 3, H, W) in [0, 1]."""
        x = y = rainy
        for _ in range(self.stages):
            x = x - 0.1 * self.sieve(torch.cat((y, x), 1))
            yield Stage(x)


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no tips
    model = Sieve(stages=3)
    data = SyntheticRain(str(HERE / "photos"), batch_size=2, patch_size=64, num_workers=0)
    options = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    Trainer(max_steps=2, **options).fit(model, data)
    clean = model.derain(HERE / "rainy.png", stages=2)
    clean.save("sieve.png")
    model.save("sieve.safetensors")
    again = load("sieve.safetensors").derain(HERE / "rainy.png", stages=2)
    print(f"wrote sieve.png and sieve.safetensors; loaded, the same result: {again == clean}")


if __name__ == "__main__":
    main()
