"""ResGuideNet as a denoiser: the same network and training, Gaussian noise in place of rain.

    python examples/denoise.py                    # some steps, on the example photographs
    python examples/denoise.py FOLDER --steps 2000 --blocks 5 --recursions 5

ResGuideNet, section 5.1. The published training, 50,000 steps on BSD500, is a recipe:

    raincleave fit --config recipe:resguidenet-denoise-30 --data.root FOLDER
"""

import argparse
import logging
from pathlib import Path

import torch
from lightning import Trainer, seed_everything
from panels import Panel, sheet

from raincleave import ResGuideNet
from raincleave.data.noise import GaussianNoise
from raincleave.metrics import psnr

HERE = Path(__file__).parent


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default=str(HERE / "photos"), help="clean photos")
    parser.add_argument("--sigma", type=float, default=30, help="of the noise, in 8-bit levels")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--recursions", type=int, default=2)
    args = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no tips
    seed_everything(0, verbose=False)

    model = ResGuideNet(args.blocks, args.recursions)
    data = GaussianNoise(
        args.folder,
        sigma=args.sigma,
        batch_size=4,
        patch_size=48,
        patches_per_epoch=4 * args.steps,
        num_workers=0,
    )
    trainer = Trainer(
        max_steps=args.steps, logger=False, enable_checkpointing=False, enable_model_summary=False
    )
    trainer.fit(model, data)
    model.eval().save("denoiser.safetensors")

    clean = data.val_set[0]["clean"][None]  # held out of the training
    noisy = clean + torch.randn(clean.shape) * args.sigma / 255
    with torch.inference_mode():
        denoised = model(noisy)
    decibels = [psnr(image, clean).item() for image in (noisy, denoised)]
    panels = [
        Panel(title, image[0], f"{score:.2f} dB")
        for title, image, score in zip(
            ("noisy", "denoised"), (noisy, denoised), decibels, strict=True
        )
    ]
    sheet(panels, columns=2, width=480).save("denoised.png")
    print(f"sigma {args.sigma:g}: {decibels[0]:.2f} dB in, {decibels[1]:.2f} dB out")
    print("wrote denoised.png and denoiser.safetensors")


if __name__ == "__main__":
    main()
