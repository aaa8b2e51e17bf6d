"""Fine-tune ``drn-7x7`` on pairs of your own, then derain with the result.

    python examples/finetune.py PAIRS    # PAIRS/rainy and PAIRS/clean, the same file names in both
    python examples/finetune.py          # a few steps on three pairs that it renders first

Writes ``finetuned.safetensors``, the best validated weights, and a card. In earnest it takes some
hundred steps and more pairs; on the command line the same is

    raincleave fit --model.init_from drn-7x7 --data PairedFolders --data.root PAIRS
"""

import argparse
import logging
import tempfile
from pathlib import Path

import torch
from lightning import Trainer, seed_everything

from raincleave import load
from raincleave.commands.synthesize import synthesize
from raincleave.data.datamodules import PairedFolders
from raincleave.training import ExportWeights, native_precision

HERE = Path(__file__).parent


def finetune(pairs, target, steps, batch_size, patch_size):
    """Fine-tune, and return the PSNR of the held-out pairs before and with the weights kept.

    The validation before the training counts too: where no step helps, the weights stay.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no tips
    seed_everything(0, verbose=False)
    data = PairedFolders(
        pairs,
        batch_size=batch_size,
        patch_size=patch_size,
        patches_per_epoch=steps * batch_size,
        num_workers=0,  # a few processes that read images pay off with larger folders
    )
    model = load("drn-7x7").train()
    # A tenth of the usual learning rate: the weights are good already.
    model.configure_optimizers = lambda: torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    export = ExportWeights(str(target))
    trainer = Trainer(
        max_steps=steps,
        callbacks=[export],
        precision=native_precision(),
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    before = trainer.validate(model, data, verbose=False)[0]["val/psnr"]
    trainer.fit(model, data)
    return before, export.best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="?", help="folder with rainy and clean")
    parser.add_argument("-o", "--output", type=Path, default="finetuned.safetensors")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--patch-size", type=int, default=64)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if args.pairs is None:
            synthesize(str(HERE / "photos"), scratch, preset="light")
        sizes = args.steps, args.batch_size, args.patch_size
        before, after = finetune(args.pairs or scratch, args.output, *sizes)
    print(f"held-out PSNR: {before:.2f} dB before, {after:.2f} dB after {args.steps} steps")
    clean = load(args.output).derain(HERE / "rainy.png")
    clean.save(args.output.with_suffix(".png"))
    print(f"wrote {args.output}, and {args.output.with_suffix('.png')} derained with it")


if __name__ == "__main__":
    main()
