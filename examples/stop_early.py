"""What each further stage gains and costs: PSNR and time after stage 1, 2 … on a folder of pairs.

    python examples/stop_early.py PAIRS drn-7x7 drn-5x5.heavy --images 20 --plot stages.png

One run over the stages of each image is timed at every stage: that is what
`derain(picture, stages=k)` takes. PSNR is csdwren's.
"""

import argparse
import time
from pathlib import Path
from statistics import mean, median

import torch
from choosing import evenly, short_name

from raincleave import load
from raincleave.data.layouts import find_pairs
from raincleave.data.pictures import read_image
from raincleave.figures import chart
from raincleave.metrics import psnr


def measure(network, pairs):
    """[(mean PSNR, median seconds)] after each stage."""
    scores, seconds = [], []
    for pair in pairs:
        rainy, clean = (read_image(p)[None].float() / 255 for p in (pair.rainy, pair.clean))
        rainy = rainy.contiguous(memory_format=torch.channels_last)
        start, images, took = time.perf_counter(), [], []
        for stage in network.unroll(rainy):
            took.append(time.perf_counter() - start)
            images.append(stage.background)
        scores.append([psnr(image.clamp(0, 1), clean).item() for image in images])
        seconds.append(took)
    columns = zip(zip(*scores, strict=True), zip(*seconds, strict=True), strict=True)
    return [(mean(score), median(took)) for score, took in columns]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path, help="folder with rainy and clean images")
    parser.add_argument("models", nargs="+", help="names of checkpoints or files of weights")
    parser.add_argument("--images", type=int, help="so many, evenly taken; all if not given")
    parser.add_argument("--plot", type=Path, help="picture of PSNR over seconds")
    args = parser.parse_args()
    pairs = find_pairs(args.pairs).pairs
    if args.images:
        pairs = evenly(pairs, args.images)
    lines = {}
    print(f"{len(pairs)} images\n| network | stage | PSNR | seconds | of the whole time |")
    print("|---|---|---|---|---|")
    with torch.inference_mode():
        for name in args.models:
            network = load(name)
            next(network.unroll(torch.rand(1, 3, 64, 64)))  # the first run is slow
            rows = measure(network, pairs)
            label = short_name(name)
            for k, (score, took) in enumerate(rows, 1):
                share = 100 * took / rows[-1][1]
                print(f"| {label} | {k} | {score:.2f} | {took:.3f} | {share:.0f} % |", flush=True)
            lines[label] = [(took, score) for score, took in rows]
    if args.plot:
        chart(lines, "seconds per image", "PSNR, dB", log_x=True).save(args.plot)


if __name__ == "__main__":
    main()
