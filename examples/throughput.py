"""Measure a folder's run: against its pictures one by one, and when it is killed and resumed.

    python examples/throughput.py drn-7x7 --pictures 500 --kills 5

Draws pictures of mixed sizes and formats. They are derained one after the other, each written
before the next is read, and by `raincleave derain FOLDER`, in turns of 50 so that a busy machine
slows both. Then the folder's run is killed at random moments, as often as asked, and resumed; its
files are compared with those of the runs that nobody killed.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from raincleave import load
from raincleave.cli import run
from raincleave.inference.files import read, save

TURN = 50
KINDS = (".png", ".jpg", ".webp", ".tif")


def draw(folder, count, sides):
    """Smooth noise of mixed sizes, in subfolders of `TURN` pictures."""
    numbers = np.random.default_rng(0)
    for k in range(count):
        width, height = (int(side) for side in numbers.integers(*sides, 2, endpoint=True))
        coarse = numbers.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
        path = folder / f"{k // TURN:02}" / f"{k:03}{KINDS[k % len(KINDS)]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path)


def one_by_one(model, pictures, output, options):
    """Seconds for pictures that follow one another, the network loaded."""
    output.mkdir(parents=True)
    start = time.perf_counter()
    for picture in pictures:
        save(model.derain(read(picture), **options), output / picture.name)
    return time.perf_counter() - start


def together(command, folder, output):
    """Seconds for the command, which loads the network, in this process."""
    start = time.perf_counter()
    if run(["derain", str(folder), "-o", str(output), *command]) != 0:
        sys.exit("raincleave derain failed")
    return time.perf_counter() - start


def killed_and_resumed(command, folder, output, kills, within):
    """How many results are there after each kill, at a random moment after the first new one."""
    moments, found = random.Random(0), []
    whole = [sys.executable, "-m", "raincleave", "derain", str(folder), "-o", str(output), *command]
    for _ in range(kills):
        process = subprocess.Popen(whole, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = results(output)
        while process.poll() is None and results(output) == before:
            time.sleep(0.01)  # until it has started
        time.sleep(moments.uniform(0, within))
        process.kill()
        process.wait()
        found.append(results(output))
    subprocess.run(whole, check=True, capture_output=True)
    return found


def results(folder):
    return sum(path.is_file() and not path.name.startswith(".") for path in folder.rglob("*"))


def contents(folder):
    """Everything below a folder, with its bytes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--sides", type=int, nargs=2, default=[60, 300], help="shortest, longest")
    parser.add_argument("--stages", type=int)
    parser.add_argument("--precision", default="32")
    parser.add_argument("--kills", type=int, default=0)
    args = parser.parse_args()
    options = {"stages": args.stages, "precision": args.precision}
    command = ["--model", args.model, "--device", "cpu", "--precision", args.precision]
    command += ["--stages", str(args.stages)] if args.stages else []
    model = load(args.model)
    with tempfile.TemporaryDirectory() as scratch:
        wet, alone, dry, resumed = (
            Path(scratch, name) for name in ("wet", "alone", "dry", "again")
        )
        draw(wet, args.pictures, args.sides)
        single = folder = 0.0
        for turn in sorted(wet.iterdir()):
            single += one_by_one(model, sorted(turn.iterdir()), alone / turn.name, options)
            folder += together(command, turn, dry / turn.name)
        print(f"{args.pictures} pictures, one by one {single:.1f} s, as a folder {folder:.1f} s")
        print(f"throughput {single / folder:.1%} of the single ones'")
        print(f"same files: {contents(alone) == contents(dry)}")
        if args.kills:
            within = folder / (args.kills + 1)
            found = killed_and_resumed(command, wet, resumed, args.kills, within)
            print(f"killed with {', '.join(map(str, found))} results there")
            print(f"resumed, same files: {contents(resumed) == contents(dry)}")


if __name__ == "__main__":
    main()
