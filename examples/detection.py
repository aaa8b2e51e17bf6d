"""Does deraining help a later vision task? Edges and matched points, in rain and without.

    python examples/detection.py                         # the photographs, in light rendered rain
    python examples/detection.py PAIRS --images 20       # pairs in any layout raincleave recognises

In the spirit of ResGuideNet, section 5.2, with classical tools that need no weights. ``edges`` is
the F-score of Canny's edges against those of the clean picture, one pixel off allowed. ``matches``
are SIFT points found again in a second, clean view of the scene (turned by 8° and shrunk to 90 %),
within 3 pixels of where they belong; ``right`` is their share of all matches.

As it printed for the first 20 pairs of Rain100L and of Rain100H with drn-7x7:

| | PSNR | edges | matches | right |
|---|---|---|---|---|
| Rain100L, rainy | 26.18 | 0.781 | 112.8 | 89.9 % |
| Rain100L, derained | 33.51 | 0.898 | 208.0 | 91.3 % |
| Rain100L, clean | inf | 1.000 | 283.9 | 94.5 % |
| Rain100H, rainy | 13.28 | 0.582 | 5.8 | 37.3 % |
| Rain100H, derained | 26.08 | 0.787 | 94.4 | 85.2 % |
| Rain100H, clean | inf | 1.000 | 285.0 | 94.6 % |
"""

import argparse
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from kornia.color import rgb_to_grayscale
from kornia.feature import SIFTFeature, get_laf_center, match_smnn
from kornia.filters import canny
from kornia.geometry import get_rotation_matrix2d, warp_affine

from raincleave import load
from raincleave.commands.synthesize import synthesize
from raincleave.data.layouts import find_pairs
from raincleave.data.pairs import read_pair
from raincleave.metrics import psnr

COLUMNS = ("PSNR", "edges", "matches", "right")


def edge_score(image, clean):
    """F-score of the edges of a grey image, (1, 1, H, W), against the clean one's."""
    found, true = (canny(picture)[1] for picture in (image, clean))
    near_found, near_true = (F.max_pool2d(edges, 3, 1, 1) for edges in (found, true))
    precision = (found * near_true).sum() / found.sum().clamp(min=1)
    recall = (true * near_found).sum() / true.sum().clamp(min=1)
    return float(2 * precision * recall / (precision + recall).clamp(min=1e-9))


def matches(sift, image, view, transform):
    """How many points of a grey image are found in the view where they belong, and what share."""
    lafs, _, here = sift(image)
    view_lafs, _, there = view
    _, pairs = match_smnn(here[0], there[0], 0.9)
    points, seen = get_laf_center(lafs)[0, pairs[:, 0]], get_laf_center(view_lafs)[0, pairs[:, 1]]
    belong = points @ transform[0, :, :2].T + transform[0, :, 2]
    right = ((belong - seen).norm(dim=1) < 3).sum()
    return int(right), float(right / max(1, len(pairs)))


@torch.inference_mode()
def measure(model, sift, pair):
    """(3, 4): for the rainy, the derained and the clean image what `COLUMNS` name."""
    rainy, clean = (image[None] / 255 for image in read_pair(pair).values())
    height, width = clean.shape[-2:]
    middle, scale = torch.tensor([[width / 2, height / 2]]), torch.full((1, 2), 0.9)
    transform = get_rotation_matrix2d(middle, torch.tensor([8.0]), scale)
    truth = rgb_to_grayscale(clean)
    view = sift(warp_affine(truth, transform, (height, width), padding_mode="reflection"))
    rows = []
    for image in (rainy, model(rainy).clamp(0, 1), clean):
        grey = rgb_to_grayscale(image)
        found = matches(sift, grey, view, transform)
        rows.append([psnr(image, clean).item(), edge_score(grey, truth), *found])
    return torch.tensor(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="?")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--model", default="drn-7x7")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if args.pairs is None:
            synthesize(str(Path(__file__).with_name("photos")), scratch, preset="light")
        pairs = find_pairs(args.pairs or scratch).pairs[: args.images]
        model, sift = load(args.model), SIFTFeature(num_features=500)
        table = torch.stack([measure(model, sift, pair) for pair in pairs]).mean(0)
    print(f"{len(pairs)} pairs " + "".join(f"{name:>9}" for name in COLUMNS))
    for name, (decibels, edges, count, share) in zip(
        ("rainy", "derained", "clean"), table.tolist(), strict=True
    ):
        print(f"{name:9}{decibels:9.2f}{edges:9.3f}{count:9.1f}{share:9.1%}")


if __name__ == "__main__":
    main()
