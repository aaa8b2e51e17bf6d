"""Where RRANet looks: the RLCN image and the attention maps, as figure 1 of the paper.

    python examples/attention.py                                # of examples/rainy.png
    python examples/attention.py photo.jpg --model rranet.heavy --stage 1 -o attention.png

White in the RLCN image is brighter than its neighbourhood. White in a map lets the features of the
encoder pass, black holds them back. Maps are drawn at the size of the picture, the coarsest first.
"""

import argparse
import itertools
from pathlib import Path

import torch
import torch.nn.functional as F
from panels import Panel, sheet

from raincleave import load
from raincleave.inference.images import to_tensor
from raincleave.models import RRANet


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rainy", nargs="?", default=Path(__file__).with_name("rainy.png"))
    parser.add_argument("--model", default="rranet", help="name of a checkpoint or weights")
    parser.add_argument("--stage", type=int, help="whose maps are drawn; else the last one's")
    parser.add_argument("-o", "--output", default="attention.png")
    args = parser.parse_args()

    model = load(args.model)
    if not isinstance(model, RRANet):
        parser.error(f"{args.model} is a {type(model).__name__}, which has no attention maps.")
    stage = model.stages if args.stage is None else args.stage
    if not 1 <= stage <= model.stages:
        parser.error(f"--stage is 1 to {model.stages}, not {stage}.")
    rainy, _ = to_tensor(args.rainy)  # (1, 3, H, W) in [0, 1]
    height, width = rainy.shape[-2:]
    with torch.inference_mode():
        trace = next(itertools.islice(model.trace(rainy), stage - 1, None))
        contrast = model.local_contrast(rainy)

    panels = [Panel("rainy", rainy[0]), Panel("RLCN", contrast[0])]
    for m in trace.attention:
        scale = 2 ** round(torch.log2(torch.tensor(width / m.shape[-1])).item())
        shown = F.interpolate(m, scale_factor=scale)[..., :height, :width]
        note = f"{m.min():.2f} to {m.max():.2f}"
        panels.append(Panel(f"attention, 1/{scale}", shown[0].expand(3, -1, -1), note))
    panels.append(Panel(f"stage {stage}", trace.background[0, :, :height, :width]))
    sheet(panels, columns=3, width=480).save(args.output)
    print(f"wrote {args.output}: {', '.join(f'{p.title} {p.note}'.strip() for p in panels)}")


if __name__ == "__main__":
    main()
