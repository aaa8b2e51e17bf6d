"""Measure what precision="fast" changes: each pixel's shift, and the PSNR's, on genuine pairs.

    python examples/fast_shift.py drn-7x7 ~/datasets/Rain100H/rainy ~/datasets/Rain100H --images 20

Pairs the sorted pictures of the two folders.
"""

import argparse
from pathlib import Path

import torch
from choosing import evenly

from raincleave import load
from raincleave.data.pictures import image_files_of
from raincleave.inference.engine import middle
from raincleave.inference.images import to_tensor
from raincleave.metrics import psnr


def shift(model, rainy, clean, **options):
    """Mean, 99.9 % and worst shift of a pixel in 8-bit levels, and the PSNR's in dB."""
    exact = model.derain(rainy, **options)
    fast = model.derain(rainy, precision="fast", **options)
    levels = (fast - exact).abs().flatten() * 255
    # Not quantile, which takes no more than 16 million values.
    nearly_all = levels.kthvalue(round(0.999 * levels.numel())).values
    change = psnr(fast, clean) - psnr(exact, clean)
    return torch.stack([levels.mean(), nearly_all, levels.max(), change.squeeze()])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("rainy", type=Path)
    parser.add_argument("clean", type=Path)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--side", type=int, help="only the middle of each image, so many pixels")
    parser.add_argument("--stages", type=int)
    args = parser.parse_args()
    folders = [image_files_of(folder) for folder in (args.rainy, args.clean)]
    if len(folders[0]) != len(folders[1]):
        counts = " and ".join(str(len(folder)) for folder in folders)
        raise SystemExit(f"the two folders do not pair: they hold {counts} pictures.")
    pairs = evenly(list(zip(*folders, strict=True)), args.images)
    model = load(args.model)
    rows = []
    for rainy, clean in pairs:
        given, truth = (middle(to_tensor(image)[0], args.side) for image in (rainy, clean))
        rows.append(shift(model, given, truth, stages=args.stages))
    rows = torch.stack(rows).double()
    print(f"{args.model}, {len(pairs)} images")
    print(f"mean shift {rows[:, 0].mean():.3f} levels, 99.9 % {rows[:, 1].mean():.2f}")
    print(f"worst pixel of all {rows[:, 2].max():.2f} levels")
    print(f"PSNR shift {rows[:, 3].mean():+.4f} dB, at most {rows[:, 3].abs().max():.4f}")


if __name__ == "__main__":
    main()
