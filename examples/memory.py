"""Measure what deraining takes: peak memory and time over image sizes.

    python examples/memory.py drn-7x7 -o memory.csv --plot memory.png
    python examples/memory.py drn-7x7 --sizes 1920x1080 7680x4320 --stages 1

Each size runs in a process of its own. Memory is counted above the process with the model loaded
and idle, so it holds the picture itself, 24 bytes a pixel for its float32 values before and after,
and the network's work, which stops growing where tiles begin.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path


def one(model, size, options):
    """Print ``pixels,peak MB,network MB,seconds`` of one size."""
    import torch

    from raincleave import load
    from raincleave.inference.memory import peak_bytes

    width, height = map(int, size.split("x"))
    network = load(model)
    network.derain(torch.rand(3, 64, 64))
    pixels = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8).numpy()
    start = time.perf_counter()
    peak = peak_bytes(lambda: network.derain(pixels, **options), torch.device("cpu")) or 0
    took = time.perf_counter() - start
    own = peak - 24 * width * height
    print(f"{width * height},{peak / 2**20:.0f},{own / 2**20:.0f},{took:.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--sizes", nargs="+", default=["1920x1080", "3840x2160", "7680x4320"])
    parser.add_argument("--stages", type=int)
    parser.add_argument("--precision", default="32")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--plot", type=Path, help="picture of both memories over megapixels")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args.model, args.sizes[0], {"stages": args.stages, "precision": args.precision})
        return
    rows = []
    options = ["--precision", args.precision]
    options += ["--stages", str(args.stages)] if args.stages else []
    for size in args.sizes:
        command = [sys.executable, __file__, args.model, "--sizes", size, "--one", *options]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode:  # it has said why
            sys.exit(f"{size} was not measured.")
        rows.append(done.stdout.strip())
        print(f"{size}: {rows[-1]}", flush=True)
    if args.output:
        head = "pixels,peak_mb,beside_the_picture_mb,seconds"
        args.output.write_text("\n".join([head, *rows]) + "\n")
    if args.plot:
        plot([[float(value) for value in row.split(",")] for row in rows]).save(args.plot)


def plot(rows):
    """Both memories over the sizes, from rows of ``one``."""
    from raincleave.figures import chart

    lines = {
        "with the picture before and after": [(row[0] / 1e6, row[1]) for row in rows],
        "the network's work": [(row[0] / 1e6, row[2]) for row in rows],
    }
    return chart(lines, "megapixels", "peak memory above idle, MiB")


if __name__ == "__main__":
    main()
