"""What a network's rain layer is worth: does it add up with the background, is it the rain?

    python examples/rain_layer.py PAIRS brn-6.heavy --images 20

*Adds up* is the PSNR of background + rain layer against the rainy picture; *rain* is the layer's
against the true rain, rainy − clean, and *difference* that of rainy − background, which every
network gives. Of RGB in [0, 1], unrounded, means over the images.
"""

import argparse
from pathlib import Path
from statistics import mean

import torch
from choosing import evenly, short_name

from raincleave import load
from raincleave.data.layouts import find_pairs
from raincleave.data.pictures import read_image


def decibels(a, b):
    """PSNR for a peak of 1."""
    return -10 * (a - b).square().mean().clamp(min=1e-10).log10().item()


def measure(network, pairs):
    """Means of the three columns."""
    rows = []
    for pair in pairs:
        rainy, clean = (read_image(p)[None].float() / 255 for p in (pair.rainy, pair.clean))
        rainy = rainy.contiguous(memory_format=torch.channels_last)
        for stage in network.unroll(rainy):
            background, rain = stage
        if rain is None:
            raise SystemExit(f"{type(network).__name__} estimates no rain layer; BRN does.")
        true = rainy - clean
        rows.append(
            [
                decibels(background + rain, rainy),
                decibels(rain, true),
                decibels(rainy - background, true),
            ]
        )
    return [mean(column) for column in zip(*rows, strict=True)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path, help="folder with rainy and clean images")
    parser.add_argument("models", nargs="+", help="names of checkpoints or files of weights")
    parser.add_argument("--images", type=int, default=20, help="so many, evenly taken")
    args = parser.parse_args()
    pairs = evenly(find_pairs(args.pairs).pairs, args.images)
    print(f"| {len(pairs)} images | adds up | rain | difference |\n|---|---|---|---|")
    with torch.inference_mode():
        for name in args.models:
            scores = " | ".join(f"{score:.2f}" for score in measure(load(name), pairs))
            print(f"| {short_name(name)} | {scores} |", flush=True)


if __name__ == "__main__":
    main()
