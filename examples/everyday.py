"""Is a network safe on everyday photographs? Dry ones left alone, and all kinds of rain reduced.

    python examples/everyday.py PHOTOS drn-7x7 drn-7x7.heavy --images 50

PHOTOS is a folder of clean photographs that no network was trained on. *Left alone* is the PSNR of
what a network makes of a dry photograph against that photograph; *rain* is what it gains where the
``real`` preset rained on it: streaks near and far, mist, noise, JPEG. Both are csdwren's, means.
"""

import argparse
from pathlib import Path
from statistics import mean

import torch
from choosing import evenly, short_name

from raincleave import load
from raincleave.data.pictures import Picture, image_files_of, read_image
from raincleave.data.synthesis import PRESETS, RainRenderer
from raincleave.metrics import psnr


def measure(network, photos, preset):
    """Mean PSNR of dry outputs against their inputs, of rainy inputs and of their outputs."""
    renderer = RainRenderer(preset, generator=torch.Generator().manual_seed(0))
    rows = []
    for path in photos:
        dry = read_image(Picture(path))[None].float() / 255
        rainy = (renderer(dry).rainy * 255).round() / 255
        alone, derained = (network.derain(image).clamp(0, 1) for image in (dry, rainy))
        pairs = (alone, dry), (rainy, dry), (derained, dry)
        rows.append([min(psnr(*pair).item(), 100) for pair in pairs])  # the same is infinite
    return [mean(column) for column in zip(*rows, strict=True)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="folder of clean photographs")
    parser.add_argument("models", nargs="+", help="names of checkpoints or files of weights")
    parser.add_argument("--images", type=int, default=50, help="so many, evenly taken")
    parser.add_argument("--preset", default="real", choices=PRESETS)
    args = parser.parse_args()
    photos = evenly(image_files_of(args.photos), args.images)
    print(f"| {len(photos)} photographs | left alone | {args.preset} rain | derained | gain |")
    print("|---|---|---|---|---|")
    for name in args.models:
        alone, rainy, derained = measure(load(name), photos, args.preset)
        gain = f"{derained - rainy:+.2f} dB"
        label = short_name(name)
        print(f"| {label} | {alone:.2f} | {rainy:.2f} | {derained:.2f} | {gain} |", flush=True)


if __name__ == "__main__":
    main()
