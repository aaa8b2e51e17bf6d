r"""Train networks alike, on the same patches for the same steps, and compare what they learned.

    python examples/equal_training.py SRN,stages=3 BRN,stages=3,coupling=none BRN,stages=3 \
        --photos FOLDER
    python examples/equal_training.py RRANet,sees_rlcn=false RRANet --loss ssim_l1 --photos FOLDER

A network is its class and what it is made with. Rain is rendered on the photographs; a tenth of
them is held out, and on those, whole and always in the same rain, the networks are compared after
their last step. Each trains as its paper does, Adam at 1e-3 decayed at 30, 50 and 80 % of the steps
(ResGuideNet: RMSProp), from the same seed.
"""

import argparse
import json
import logging
import warnings
from pathlib import Path

from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import Timer

from raincleave import models
from raincleave.data.datamodules import SyntheticRain
from raincleave.data.synthesis import PRESETS
from raincleave.training import StopOnNaN, native_precision

NETWORKS = [name for name in models.__all__ if name not in ("Derainer", "Stage")]


def build(words, loss):
    """``"BRN,stages=3,coupling=none"`` as a network; values are JSON or else words."""
    name, *pairs = words.split(",")
    if name not in NETWORKS:
        raise SystemExit(f"There is no network {name!r}; choose one of {', '.join(NETWORKS)}.")
    arguments = {"loss": loss} if loss else {}
    for pair in pairs:
        key, value = pair.split("=", 1)
        try:
            arguments[key] = json.loads(value)
        except json.JSONDecodeError:
            arguments[key] = value
    return getattr(models, name)(**arguments)


def train(words, args):
    """(the network, {"val/psnr": dB, "val/ssim": SSIM, …}, seconds a step)."""
    seed_everything(args.seed, verbose=False)
    network = build(words, args.loss)
    data = SyntheticRain(
        args.photos,
        preset=args.preset,
        textures=args.textures,
        texture_rate=0.5,
        batch_size=args.batch,
        patch_size=args.patch,
        patches_per_epoch=args.batch * args.steps,
        num_workers=args.workers,
        seed=args.seed,
    )
    data.setup("fit")
    if not len(data.val_set):
        raise SystemExit(f"{args.photos[0]}: two photographs at least, for one is held out.")
    timer = Timer()
    trainer = Trainer(
        max_epochs=1,  # of as many patches as the steps take; validated at its end
        precision=native_precision(),
        callbacks=[StopOnNaN(), timer],
        limit_val_batches=args.images,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    trainer.fit(network, data)
    took = (timer.time_elapsed("train") - timer.time_elapsed("validate")) / args.steps
    return network, trainer.callback_metrics, took


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", help="such as SRN,stages=3")
    parser.add_argument("--photos", nargs="+", required=True, help="folders of clean photographs")
    parser.add_argument("--textures", help="pairs whose rain half of the patches get")
    parser.add_argument("--preset", default="heavy", choices=PRESETS)
    parser.add_argument("--loss", help="for all, instead of each paper's own")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--images", type=int, default=16, help="held-out photographs compared on")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="folder for the trained weights")
    args = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no tips
    warnings.filterwarnings("ignore", module="lightning")
    print("| network | parameters | seconds a step | PSNR | SSIM |\n|---|---|---|---|---|")
    for words in args.models:
        network, scores, took = train(words, args)
        count = sum(p.numel() for p in network.parameters())
        quality = f"{scores['val/psnr']:.2f} | {scores['val/ssim']:.4f}"
        print(f"| {words} | {count:,} | {took:.2f} | {quality} |", flush=True)
        if args.save:
            args.save.mkdir(parents=True, exist_ok=True)
            network.eval().save(args.save / f"{words}.safetensors")


if __name__ == "__main__":
    main()
