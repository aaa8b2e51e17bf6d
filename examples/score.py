"""PSNR and SSIM of a network on a folder of pairs, by each of the papers' protocols.

    python examples/score.py PAIRS [MODEL]    # PAIRS in any layout raincleave recognises
    python examples/score.py                  # on the photographs, with rain rendered on them

`raincleave evaluate MODEL --root PAIRS` does the same, with checks of the dataset and all stages.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

from raincleave import load
from raincleave.commands.synthesize import synthesize
from raincleave.data.layouts import find_pairs
from raincleave.evaluation import derain_pair, score_pairs, strict_float32
from raincleave.metrics import PROTOCOLS


def score(root, name):
    """Print a table: a row for each protocol, input and output."""
    found = find_pairs(root)
    print(f"{len(found.pairs)} pairs, {found.version}")
    model = load(name)
    with strict_float32():
        scores = score_pairs(found.pairs, partial(derain_pair, model), PROTOCOLS)
    print(f"{'':10}{'rainy':>16}{'derained':>16}")
    for protocol, rows in scores.items():
        rainy, derained = rows.input, list(rows.stages.values())[-1]
        cells = (f"{s.psnr:.2f} / {s.ssim:.4f}" for s in (rainy, derained))
        print(f"{protocol:10}" + "".join(f"{cell:>16}" for cell in cells))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="?", help="folder with rainy and clean images")
    parser.add_argument("model", nargs="?", default="drn-7x7")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if args.pairs is None:
            synthesize(str(Path(__file__).with_name("photos")), scratch, preset="light")
        score(args.pairs or scratch, args.model)


if __name__ == "__main__":
    main()
