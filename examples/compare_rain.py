"""Compare rendered rain with genuine pairs: statistics, a contact sheet, and networks as judges.

    python examples/compare_rain.py PAIRS [--preset heavy] [--sheet sheet.png] [--judge NET ...]
    python examples/compare_rain.py PHOTOS --photos --preset light

PAIRS is a folder of rainy and clean images in any layout raincleave reads. The rain is rendered on
the same clean images and measured in the same way. A judge is a name or weight file that
`raincleave.load` takes: how well it derains genuine and rendered rain tells how alike they are to a
network. With ``--photos`` the folder holds clean photographs alone, and only what is rendered on
them is measured, to be compared with what is published of a dataset.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from choosing import short_name
from PIL import Image

from raincleave import load
from raincleave.data.layouts import find_pairs
from raincleave.data.pictures import Picture, image_files_of, read_image
from raincleave.data.synthesis import PRESETS, RainRenderer
from raincleave.metrics import psnr, ssim

BINS = (0, 1, 10, 30, 60, 90, 120, 256)


def layer(rainy: torch.Tensor, clean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """R (H, W) in 8-bit levels and where it is known, that is, where O is not saturated."""
    o, b = rainy.int(), clean.int()
    r = torch.where(o >= 255, 999, o - b).amin(0)
    return r.clamp(min=0).float(), r < 999


def directions(r: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """(18,): share of R's spectral energy, 0.05–0.5 cycles a pixel, by streak direction.

    In steps of 10° from −90° to 90° from vertical.
    """
    r = torch.where(known, r, r[known].mean())
    height, width = r.shape
    window = torch.hann_window(height)[:, None] * torch.hann_window(width)
    energy = torch.fft.fft2((r - r.mean()) * window).abs().square()
    fy, fx = torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)[None]
    frequency = (fy.square() + fx.square()).sqrt()
    # A streak along (sin a, cos a) has its energy across it, at frequencies along (cos a, −sin a).
    angle = torch.rad2deg(torch.atan2(-fy, fx)).expand_as(energy)
    angle = (angle + 90) % 180 - 90
    band = (frequency > 0.05) & (frequency < 0.5)
    bins = ((angle[band] + 90) / 10).long().clamp(0, 17)
    shares = torch.zeros(18).scatter_add_(0, bins, energy[band])
    return shares / shares.sum()


def concentration(shares: torch.Tensor) -> float:
    """Share of the energy within 15° of the strongest direction."""
    peak = int(shares.argmax())
    return float(sum(shares[(peak + k) % 18] for k in (-1, 0, 1)))


def measure(rainy: torch.Tensor, clean: torch.Tensor) -> dict[str, float]:
    """The statistics of one pair, both (3, H, W) uint8."""
    r, known = layer(rainy, clean)
    share = torch.histogram(r[known], torch.tensor(BINS, dtype=torch.float)).hist / known.sum()
    images = rainy[None].double() / 255, clean[None].double() / 255
    numbers = {
        "rainy pixels, %": 100 * (r[known] > 0).float().mean().item(),
        "mean R": r[known].mean().item(),
        "saturated, %": 100 * (~known).float().mean().item(),
        "input PSNR (csdwren), dB": psnr(*images, "csdwren").item(),
        "input SSIM (csdwren)": ssim(*images, "csdwren").item(),
        "energy within 15° of the main slant, %": 100 * concentration(directions(r, known)),
    }
    for low, high, part in zip(BINS, BINS[1:], share.tolist(), strict=False):
        numbers[f"R in {low}–{high}, %"] = 100 * part
    return numbers


def average(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def render(clean: torch.Tensor, renderer: RainRenderer) -> torch.Tensor:
    rainy = renderer(clean[None].float() / 255).rainy[0]
    return (rainy * 255).round().to(torch.uint8)


def sheet(genuine: list, rendered: list, path: Path, size: int = 200) -> None:
    """Left genuine, right rendered; the top halves show the images, the bottom halves R."""

    def block(pairs: list) -> np.ndarray:
        rows = []
        height, width = (min(size, max(o.shape[d] for o, _ in pairs)) for d in (-2, -1))
        for kind in ("image", "layer"):
            tiles = np.full((6, height, width, 3), 255, np.uint8)
            for tile, (rainy, clean) in zip(tiles, pairs, strict=False):
                shown = rainy if kind == "image" else layer(rainy, clean)[0].clamp(max=255).byte()
                shown = shown.expand(3, *shown.shape[-2:])[:, :height, :width]
                tile[: shown.shape[1], : shown.shape[2]] = shown.permute(1, 2, 0).numpy()
            rows += [np.concatenate(list(tiles[i : i + 3]), 1) for i in (0, 3)]
        return np.concatenate(rows, 0)

    left, right = block(genuine), block(rendered)
    gap = np.full((len(left), 10, 3), 255, np.uint8)
    Image.fromarray(np.concatenate([left, gap, right], 1)).save(path)


def judged(judge: str, pairs: list, size: int) -> float:
    """Mean PSNR (csdwren) of a network on the middle of each pair."""
    model = load(judge)

    def middle(image: torch.Tensor) -> torch.Tensor:
        top, left = (max(0, (n - size) // 2) for n in image.shape[-2:])
        return image[None, :, top : top + size, left : left + size].float() / 255

    with torch.inference_mode():
        scores = [psnr(model(middle(r)), middle(c), "csdwren").item() for r, c in pairs]
    return float(np.mean(scores))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--photos", action="store_true", help="PAIRS holds clean photographs alone")
    parser.add_argument("--preset", default="heavy", choices=PRESETS)
    parser.add_argument("--renders", type=int, default=8, help="of each clean image")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--judge", nargs="*", default=[])
    parser.add_argument("--judged-size", type=int, default=240, help="side of what is judged")
    args = parser.parse_args()
    renderer = RainRenderer(args.preset, generator=torch.Generator().manual_seed(0))
    if args.photos:
        photos = [read_image(Picture(path)) for path in image_files_of(args.pairs)]
        rows = [measure(render(c, renderer), c) for _ in range(args.renders) for c in photos]
        print(f"| {len(photos)} photographs | rendered |\n|---|---|")
        for key, value in average(rows).items():
            print(f"| {key} | {value:.{3 if 'SSIM' in key else 2}f} |")
        return
    found = find_pairs(args.pairs).pairs
    genuine = [(read_image(pair.rainy), read_image(pair.clean)) for pair in found]
    rendered = [(render(c, renderer), c) for _ in range(args.renders) for _, c in genuine]
    left = average([measure(*pair) for pair in genuine])
    right = average([measure(*pair) for pair in rendered])
    print(f"| {len(genuine)} pairs | genuine | rendered | difference |\n|---|---|---|---|")
    for key, value in left.items():
        change = right[key] - value
        apart = f"{change:+.2f}" if "dB" in key else f"{100 * change / (value or np.nan):+.0f} %"
        print(f"| {key} | {value:.2f} | {right[key]:.2f} | {apart} |")
    for judge in args.judge:
        sets = genuine, rendered[: 2 * len(genuine)]
        scores = [judged(judge, pairs, args.judged_size) for pairs in sets]
        apart = scores[1] - scores[0]
        print(f"| {short_name(judge)}, dB | {scores[0]:.2f} | {scores[1]:.2f} | {apart:+.2f} |")
    if args.sheet:
        sheet(genuine, rendered, args.sheet)


if __name__ == "__main__":
    main()
