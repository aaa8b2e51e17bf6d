"""Every stage of a network, and the rain it takes out, in one picture.

    python examples/stages.py                              # of examples/rainy.png -> stages.png
    python examples/stages.py photo.jpg --clean dry.jpg    # and the PSNR of each stage, csdwren

The last panel is the rain layer where the network estimates it (BRN), and else what the last stage
took away, input − output.
"""

import argparse
from pathlib import Path

import torch
from panels import Panel, sheet

from raincleave import load
from raincleave.inference.images import to_tensor
from raincleave.metrics import psnr


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rainy", nargs="?", default=Path(__file__).with_name("rainy.png"))
    parser.add_argument("--clean", help="the same picture without rain")
    parser.add_argument("--model", default="drn-7x7")
    parser.add_argument("-o", "--output", default="stages.png")
    args = parser.parse_args()

    model = load(args.model)
    rainy, _ = to_tensor(args.rainy)  # (1, 3, H, W) in [0, 1]
    clean = to_tensor(args.clean)[0] if args.clean else None
    with torch.inference_mode():
        stages = list(model.unroll(rainy))

    def panel(title, image):
        note = f"{psnr(image, clean).item():.2f} dB" if clean is not None else ""
        return Panel(title, image[0], note)

    panels = [panel("rainy", rainy)]
    panels += [panel(f"stage {t}", stage.background) for t, stage in enumerate(stages, 1)]
    rain = stages[-1].rain
    layer = rainy - stages[-1].background if rain is None else rain
    panels.append(Panel("rain taken out", layer[0].clamp(min=0)))
    sheet(panels, columns=3, width=480).save(args.output)
    print(f"wrote {args.output}: {', '.join(f'{p.title} {p.note}'.strip() for p in panels)}")


if __name__ == "__main__":
    main()
