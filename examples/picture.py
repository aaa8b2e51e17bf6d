"""Draws ``picture.jpg``, the picture on top of the README: light and heavy rain, stage by stage.

    python examples/picture.py            # writes examples/picture.jpg
    python examples/picture.py --model ours.safetensors -o ours.jpg

The photographs are real (``photos/LICENCES.md``), the rain is rendered on them by `RainRenderer`.
Photographs and seed were settled before any network had seen them: it is what it gives. The light
rain falls within 15 degrees of upright, as the heavy rain does; much of it stays at 45 degrees.
"""

import argparse
from pathlib import Path

import torch
from panels import Panel, sheet

from raincleave import load
from raincleave.data.synthesis import RainRenderer
from raincleave.inference.images import to_tensor
from raincleave.metrics import psnr

HERE = Path(__file__).parent
ROWS = {"dogs": "light", "autumn": "heavy"}
SEED, SHOWN = 0, (1, 3)


@torch.inference_mode()
def row(model, photo, preset):
    """Rainy, two stages on the way and the result of one photograph, with their PSNR."""
    clean, _ = to_tensor(HERE / "photos" / f"{photo}.jpg")
    renderer = RainRenderer(preset, generator=torch.Generator().manual_seed(SEED))
    renderer = renderer.with_(slant=(-15, 15)) if preset == "light" else renderer
    # Rounded, as a camera's file would be.
    rainy = renderer(clean).rainy.mul(255).round() / 255
    stages = [stage.background for stage in model.unroll(rainy)]
    shown = {f"{preset} rain, rendered": rainy}
    shown |= {f"after stage {t}": stages[t - 1] for t in SHOWN if t < len(stages)}
    shown[f"after stage {len(stages)}: the result"] = stages[-1]
    return [Panel(k, x[0], f"{psnr(x, clean).item():.1f} dB") for k, x in shown.items()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="drn-7x7")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "picture.jpg")
    args = parser.parse_args()
    model = load(args.model)
    rows = [row(model, *item) for item in ROWS.items()]
    for panels in rows:
        print(", ".join(f"{panel.title} {panel.note}" for panel in panels))
    picture = sheet([panel for row in rows for panel in row], columns=len(rows[0]), width=345)
    picture.save(args.output, quality=88, optimize=True)
    size = args.output.stat().st_size // 1000
    print(f"wrote {args.output}, {picture.width}x{picture.height} pixels, {size} kB")


if __name__ == "__main__":
    main()
