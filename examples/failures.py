"""Draws ``failures.jpg``, what raincleave does not remove: drops on the lens, snow, rain by night.

    python examples/failures.py           # writes examples/failures.jpg

The networks are made for rain streaks by day. Here the same photographs as in ``picture.jpg`` get
three other kinds of bad weather, drawn in a few lines each, no more than alike to the real thing.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from panels import Panel, sheet
from PIL import Image, ImageDraw, ImageFilter

from raincleave import load
from raincleave.data.synthesis import RainRenderer
from raincleave.inference.images import to_tensor
from raincleave.metrics import psnr

HERE = Path(__file__).parent
LAMPS = ((0.13, 0.52), (0.57, 0.34), (0.88, 0.47))  # x and y as shares of the picture


def positions(image):
    """(H, W, 2), the x and y of every pixel."""
    rows, columns = (torch.arange(side, dtype=torch.float32) for side in image.shape[-2:])
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)


def drops(image, generator):
    """Drops on the lens: each shows the scene upside down, small and blurred."""
    size = torch.tensor(image.shape[:1:-1])
    scene, result = gaussian_blur2d(image, (9, 9), (2.0, 2.0)), image
    for x, y, large in torch.rand(45, 3, generator=generator):
        middle = torch.stack((x, y)) * size
        away = positions(image) - middle
        distance = away.norm(dim=-1) / (5 + 15 * large**2)
        grid = (middle - 4 * away) / size * 2 - 1
        inside = F.grid_sample(scene, grid[None], padding_mode="reflection", align_corners=False)
        shaded = inside * (1.1 - 0.35 * distance.clamp(max=1) ** 3)
        result = torch.lerp(result, shaded, ((1.05 - distance) * 6).clamp(0, 1))
    return result, image


def snow(image, generator):
    """Flakes, the near ones large and out of focus."""
    height, width = image.shape[-2:]
    layer = torch.zeros(1, 1, height, width)
    for count, radius in ((900, 1.0), (250, 1.6), (60, 3.0)):
        flakes = Image.new("L", (width, height))
        for x, y in torch.rand(count, 2, generator=generator).tolist():
            ImageDraw.Draw(flakes).circle((x * width, y * height), radius, fill=240)
        soft = flakes.filter(ImageFilter.GaussianBlur(radius / 2))
        layer = torch.maximum(layer, to_tensor(soft)[0][:, :1])
    return torch.lerp(image, torch.ones_like(image), layer), image


def night(image, generator):
    """The picture by night, in rain that glaring lamps light up; and the same without the rain."""
    height, width = image.shape[-2:]
    glow = torch.zeros(1, 3, height, width)
    for x, y in LAMPS:
        away = (positions(image) - torch.tensor([x * width, y * height])).norm(dim=-1)
        shine = torch.exp(-((away / 6) ** 2)) + 0.6 * torch.exp(-away / 22)
        glow += shine * torch.tensor([1.0, 0.85, 0.55]).view(1, 3, 1, 1)
    rain = RainRenderer("heavy", generator=generator)(image).rain
    dark = image**1.6 * torch.tensor([0.28, 0.32, 0.44]).view(1, 3, 1, 1)
    dry = dark * (1 + 4 * glow) + glow
    return dry + rain * (0.1 + 1.2 * glow), dry.clamp(0, 1)


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="drn-7x7")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "failures.jpg")
    args = parser.parse_args()
    model = load(args.model)
    before, after = [], []
    weathers = (("drops on the lens", drops, "dogs"), ("snow", snow, "autumn"))
    for title, weather, photo in (*weathers, ("rain by night", night, "pavilion")):
        clean, _ = to_tensor(HERE / "photos" / f"{photo}.jpg")
        bad, wanted = weather(clean, torch.Generator().manual_seed(0))
        bad = bad.clamp(0, 1)
        result = model(bad)
        scores = [f"{psnr(x, wanted).item():.1f} dB" for x in (bad, result)]
        before.append(Panel(f"{title}, drawn", bad[0], scores[0]))
        after.append(Panel("derained", result[0], scores[1]))
        print(f"{title}: {' -> '.join(scores)}")
    picture = sheet(before + after, columns=3, width=400)
    picture.save(args.output, quality=82, optimize=True)
    print(f"wrote {args.output}, {args.output.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
