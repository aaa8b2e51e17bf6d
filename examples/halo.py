"""Measure how short a halo may be: the worst error of tiles against the whole image.

    python examples/halo.py drn-7x7 ~/datasets/Rain100H/rainy --images 20

Prints, for each halo, the worst pixel of all images in 8-bit levels. The shortest whose worst stays
below a quarter of a level is what a network's ``short_halo`` may be.
"""

import argparse
from pathlib import Path

from choosing import evenly

from raincleave import load
from raincleave.data.pictures import image_files_of
from raincleave.inference.engine import middle
from raincleave.inference.images import to_tensor


def measure(model, images, halos, tile, side=None):
    """{halo: worst error over the images in 8-bit levels}."""
    worst = dict.fromkeys(halos, 0.0)
    for image in images:
        rainy = middle(to_tensor(image)[0], side)
        whole = model.derain(rainy, tile=None)
        for halo in halos:
            tiles = model.derain(rainy, tile=tile, halo=halo)
            worst[halo] = max(worst[halo], float((tiles - whole).abs().max()) * 255)
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--side", type=int, help="only the middle of each image, so many pixels")
    parser.add_argument("--halos", type=int, nargs="+", default=[16, 24, 32, 48, 64, 96])
    parser.add_argument("--tile", type=int, default=160)
    args = parser.parse_args()
    chosen = evenly(image_files_of(args.folder), args.images)
    model = load(args.model)
    exact = model.receptive_radius()
    print(f"{args.model}: exact halo {exact}, {len(chosen)} images, tiles of {args.tile}")
    for halo, worst in measure(model, chosen, args.halos, args.tile, args.side).items():
        print(f"halo {halo:3d}: worst {worst:.4f} levels")


if __name__ == "__main__":
    main()
