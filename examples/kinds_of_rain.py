"""Which kinds of rain a network removes, and whether it leaves dry photographs alone.

    python examples/kinds_of_rain.py PHOTOS drn-7x7 drn-7x7.heavy --images 50
    python examples/kinds_of_rain.py PHOTOS drn-7x7 --kinds soft hard "soft, long" --side 256
    python examples/kinds_of_rain.py PHOTOS rranet.real --kinds real --by-strength
    python examples/kinds_of_rain.py PHOTOS rranet.real --kinds real --best-exposure

PHOTOS is a folder of clean photographs that no network was trained on; each kind of rain is drawn
on the same ones. Printed are PSNR / SSIM (csdwren), means; *dry* against the photograph itself, no
more than 100 dB. A kind that training did not show stays: a network trained on slants up to 30
degrees gains nothing at 45. ``--by-strength`` parts each kind by the PSNR of the rainy photograph:
where there is little to remove, a network may take more than the rain. ``--best-exposure`` scores
the networks once more with the brightness and contrast that come closest to the photograph: how
much light the mist of real rain has added, no network can know for sure.
"""

import argparse
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import mean

import torch
from choosing import evenly, short_name

from raincleave import load
from raincleave.data.pictures import Picture, image_files_of, read_image
from raincleave.data.synthesis import PRESETS, Rain, RainRenderer
from raincleave.inference.engine import middle
from raincleave.metrics import psnr, ssim

SOFT = Rain(
    cover=(0.06, 0.2), length=(15, 35), brightness=(0.12, 0.35), brightness_variation=0.3,
    spread=(0, 1), length_variation=0, width_variation=0, taper=(0.3, 0.5),
)  # fmt: skip
KINDS = {
    "soft": SOFT,
    "soft, bright": replace(SOFT, cover=(0.03, 0.1), brightness=(0.35, 0.7)),
    "soft, wide": replace(SOFT, cover=(0.1, 0.3), width=(1.2, 2), brightness=(0.1, 0.25)),
    "soft, at 40–55°": replace(SOFT, slant=(40, 55)),
    "soft, long": replace(SOFT, length=(60, 120)),
    "hard": replace(SOFT, hardness=(2, 4), level=(1, 1), brightness_variation=0.5),
    "hard, bright": replace(
        SOFT, hardness=(2, 4), level=(1, 1), cover=(0.03, 0.1), brightness=(0.35, 0.6)
    ),
}


PRINTED = ["dry", *PRESETS]
STRENGTHS = (0, 22, 26, 30, 34, 100)
"""PSNR of the rainy photograph in dB, between which ``--by-strength`` takes the means;
a dry one, of 100 dB, is in none."""


def exposed(image, clean):
    """The image in the brightness and contrast that come closest to the clean one."""
    levels = torch.stack([image.flatten(), torch.ones(image.numel())], 1)
    fit = torch.linalg.lstsq(levels, clean.flatten()[:, None]).solution
    return (levels @ fit).view_as(image).clamp(0, 1)


def measure(networks, photos, kind, side=None, exposure=False):
    """[(PSNR, SSIM) of each photograph] for the rainy ones, and for what each network makes.

    With ``exposure`` once more for what each makes, `exposed`.
    """
    rain = KINDS.get(kind, "heavy" if kind == "dry" else kind)
    generator = torch.Generator().manual_seed(0)
    renderer = RainRenderer(rain, p=float(kind != "dry"), generator=generator)
    scores = [[] for _ in range(1 + len(networks) * (1 + exposure))]
    for path in photos:
        clean = middle(read_image(Picture(path))[None].float() / 255, side)
        rainy = (renderer(clean).rainy * 255).round() / 255
        images = [rainy, *(network.derain(rainy).clamp(0, 1) for network in networks)]
        if exposure:
            images += [exposed(image, clean) for image in images[1:]]
        for column, image in zip(scores, images, strict=True):
            # The PSNR of a picture with itself is infinite.
            column.append((min(psnr(image, clean).item(), 100), ssim(image, clean).item()))
    return scores


def parts(scores):
    """(between which PSNRs of the rainy photographs, the scores of those), where there are any."""
    for low, high in pairwise(STRENGTHS):
        chosen = [k for k, (rainy, _) in enumerate(scores[0]) if low <= rainy < high]
        if chosen:
            label = f"above {low} dB" if high == STRENGTHS[-1] else f"{low} to {high} dB"
            yield f"{label}: {len(chosen)}", [[column[k] for k in chosen] for column in scores]


def row(label, scores):
    """A line of the table: the means of every column."""
    means = ([mean(values) for values in zip(*column, strict=True)] for column in scores)
    return f"| {label} | {' | '.join(f'{p:.2f} / {s:.3f}' for p, s in means)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="folder of clean photographs")
    parser.add_argument("models", nargs="+", help="names of checkpoints or files of weights")
    parser.add_argument("--images", type=int, default=50, help="so many, evenly taken")
    parser.add_argument("--side", type=int, help="only the middle of each, so many pixels")
    parser.add_argument("--by-strength", action="store_true", help="strong and weak rain apart")
    parser.add_argument("--best-exposure", action="store_true", help="their light set right too")
    parser.add_argument("--kinds", nargs="+", default=PRINTED, choices=[*PRINTED, *KINDS])
    args = parser.parse_args()
    photos = evenly(image_files_of(args.photos), args.images)
    networks = [load(name) for name in args.models]
    labels = [short_name(name) for name in args.models]
    if args.best_exposure:
        labels += [f"{label}, best exposure" for label in labels]
    print(f"| {len(photos)} photographs | rainy | {' | '.join(labels)} |")
    print("|---|" + "---|" * (1 + len(labels)))
    for kind in args.kinds:
        scores = measure(networks, photos, kind, args.side, args.best_exposure)
        print(row(kind, scores), flush=True)
        if args.by_strength:
            for label, some in parts(scores):
                print(row(f"{kind}, {label}", some), flush=True)


if __name__ == "__main__":
    main()
