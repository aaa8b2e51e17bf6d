"""Draws a village street, no photograph, and rain on it, as in ``examples/rainy.png``.

    python examples/make_rainy.py                    # writes rainy.png
    python examples/make_rainy.py --clean clean.png  # and the same street without the rain

Everything is drawn with numpy and Pillow from one seed, so the picture is free of anyone's rights.
The rain is that of the renderer as it is; ``examples/rainy.png`` was drawn by an earlier one, whose
rain was softer, and is kept, since figures and pictures elsewhere were made with it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from raincleave.data.synthesis import RainRenderer

SEED, RAIN_SEED = 7, 4
WIDTH, HEIGHT = 480, 320
FINE = 3  # drawn this much larger, then reduced, for soft edges
GROUND = 222  # where the houses stand, in rows of the final picture

Pixels = NDArray[np.float32]
Colour = tuple[float, float, float]
Points = Sequence[tuple[float, float]]


class Scene:
    """A canvas (H, W, 3) of floats in [0, 1] that shapes with a texture are laid on."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.size = (WIDTH * FINE, HEIGHT * FINE)
        self.pixels: Pixels = np.zeros((HEIGHT * FINE, WIDTH * FINE, 3), np.float32)

    def noise(self, *cells: tuple[float, float]) -> Pixels:
        """Smooth noise about 0, σ 1: a sum over grids of cells (width, height), in final pixels."""
        total = np.zeros(self.size[::-1], np.float32)
        for octave, (width, height) in enumerate(cells):
            grid = (max(2, round(WIDTH / width)), max(2, round(HEIGHT / height)))
            coarse = Image.fromarray(self.rng.normal(size=grid[::-1]).astype(np.float32))
            fine = coarse.resize(self.size, Image.Resampling.BICUBIC)
            total += np.asarray(fine) / (octave + 1)
        return total / total.std()

    def mask(self, *shapes: Points, soft: float = 0) -> Pixels:
        """1 inside the polygons, 0 outside, blurred by ``soft`` final pixels."""
        image = Image.new("L", self.size)
        for shape in shapes:
            ImageDraw.Draw(image).polygon([(x * FINE, y * FINE) for x, y in shape], fill=255)
        return np.asarray(image.filter(ImageFilter.GaussianBlur(soft * FINE)), np.float32) / 255

    def lay(self, mask: Pixels, colour: Colour, texture: Pixels | float = 0) -> None:
        """Cover the mask with a colour, made lighter and darker by the texture."""
        paint = np.asarray(colour, np.float32) * (1 + np.asarray(texture, np.float32))[..., None]
        self.pixels += mask[..., None] * (paint - self.pixels)

    def shade(self, mask: Pixels, amount: float) -> None:
        """Darken (or, below 0, lighten) by a share of what is there."""
        self.pixels *= 1 - amount * mask[..., None]


def box(left: float, top: float, right: float, bottom: float) -> Points:
    """The corners of an upright rectangle."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def draw_sky(scene: Scene) -> None:
    """A bright, overcast afternoon, warmer towards the horizon."""
    height = np.linspace(0, 1, scene.size[1], dtype=np.float32)[:, None, None]
    top, low = np.float32([0.47, 0.57, 0.68]), np.float32([0.90, 0.86, 0.80])
    scene.pixels[:] = top + (low - top) * np.minimum(1, height * 1.7)
    clouds = scene.noise((150, 45), (70, 22), (32, 12), (14, 6), (7, 4))
    scene.lay(np.clip(clouds * 0.35 + 0.1, 0, 0.7), (0.90, 0.90, 0.91))
    lower = np.pad(clouds, ((12 * FINE, 0), (0, 0)), mode="edge")[: -12 * FINE]
    scene.shade(np.clip(lower * 0.12 - 0.02, 0, 0.2), 0.8)


def draw_hills(scene: Scene) -> None:
    """Three ridges, each nearer one darker and greener, with woods for a texture."""
    across = np.linspace(0, WIDTH, 200)
    ridges = [(120, 16, 0.021, (0.58, 0.65, 0.70)), (142, 13, 0.034, (0.42, 0.53, 0.50))]
    ridges.append((168, 9, 0.05, (0.30, 0.42, 0.27)))
    for near, (row, swing, pace, colour) in enumerate(ridges):
        phase = scene.rng.uniform(0, 6)
        wave = np.sin(across * pace + phase) + 0.5 * np.sin(across * pace * 2.3 + 2 * phase)
        ridge = row - swing * wave + scene.rng.normal(0, 0.4 + 0.5 * near, across.shape)
        outline = [*zip(across, ridge, strict=True), (WIDTH, HEIGHT), (0, HEIGHT)]
        woods = scene.noise((20, 10), (6, 4), (3, 2))
        scene.lay(scene.mask(outline, soft=0.6 - 0.2 * near), colour, woods * (0.03 + 0.05 * near))


def draw_ground(scene: Scene) -> None:
    """Meadow, pavement, kerb and road."""
    grass = scene.noise((30, 8), (5, 2.5), (2, 1.5), (1.2, 1.5))
    scene.lay(scene.mask(box(0, 200, WIDTH, HEIGHT), soft=2), (0.34, 0.44, 0.22), grass * 0.14)
    stones = scene.noise((8, 2), (2, 1), (1, 0.7))
    scene.lay(scene.mask(box(0, GROUND, WIDTH, GROUND + 17)), (0.60, 0.57, 0.53), stones * 0.06)
    for x in range(-60, WIDTH + 60, 22):
        middle = x + (x - WIDTH / 2) * 0.06
        slab = [(x, GROUND), (x + 1, GROUND), (middle + 1.2, GROUND + 17), (middle, GROUND + 17)]
        scene.shade(scene.mask(slab), 0.25)
    asphalt = scene.noise((120, 10), (12, 3), (2, 1), (1, 1))
    scene.lay(scene.mask(box(0, GROUND + 17, WIDTH, HEIGHT)), (0.36, 0.37, 0.39), asphalt * 0.07)
    scene.lay(
        scene.mask(box(0, GROUND + 17, WIDTH, GROUND + 21)), (0.68, 0.66, 0.63), stones * 0.05
    )
    scene.shade(scene.mask(box(0, GROUND + 21, WIDTH, GROUND + 23), soft=0.5), 0.35)
    for x in range(-30, WIDTH, 96):
        dash = [(x, 284), (x + 50, 284), (x + 46, 289), (x - 7, 289)]
        scene.lay(scene.mask(dash, soft=0.3), (0.86, 0.84, 0.78), asphalt * 0.08)


def draw_house(
    scene: Scene, left: float, width: float, height: float, *, wall: Colour, floors: int
) -> None:
    """A plastered or brick house with a tiled roof, lit from the left."""
    right, top = left + width, GROUND - height
    plaster = scene.noise((25, 25), (4, 3), (1.5, 1))
    scene.lay(scene.mask(box(left, top, right, GROUND)), wall, plaster * 0.05)
    courses = [box(left, y, right, y + 0.5) for y in np.arange(top, GROUND, 3.2)]
    scene.shade(scene.mask(*courses), 0.10)
    scene.shade(scene.mask(box(left, GROUND - 9, right, GROUND)), 0.30)
    chimney = left + width * 0.7
    scene.lay(
        scene.mask(box(chimney, top - 34, chimney + 8, top - 8)), (0.48, 0.30, 0.24), plaster * 0.1
    )
    roof = [
        (left - 5, top + 2),
        (left + 12, top - 27),
        (right - 12, top - 27),
        (right + 5, top + 2),
    ]
    tiles = scene.noise((20, 8), (3, 1.5), (1.2, 1.2))
    scene.lay(
        scene.mask(roof), (0.50, 0.27, 0.20) if floors == 2 else (0.33, 0.32, 0.35), tiles * 0.11
    )
    rows = [box(left - 5, y, right + 5, y + 0.8) for y in np.arange(top - 27, top, 3)]
    scene.shade(scene.mask(*rows) * scene.mask(roof), 0.22)
    scene.shade(scene.mask(box(left, top + 2, right, top + 6), soft=0.8), 0.35)
    draw_windows(scene, left, width, top, floors)


def draw_windows(scene: Scene, left: float, width: float, top: float, floors: int) -> None:
    """Rows of framed windows with bars, sills and the sky in them; a door in the lowest row."""
    count = round(width / 26)
    step, storey = width / count, (GROUND - top) / floors
    for floor in range(floors):
        y = top + floor * storey + storey * 0.26
        for column in range(count):
            x = left + column * step + step / 2 - 6.5
            if floor == floors - 1 and column == count // 2:
                scene.lay(scene.mask(box(x - 1.5, y - 2, x + 14.5, GROUND)), (0.84, 0.82, 0.77))
                wood = scene.noise((1.5, 40), (3, 60))
                colour = scene.rng.choice([(0.20, 0.33, 0.30), (0.42, 0.20, 0.15)])
                scene.lay(scene.mask(box(x, y, x + 13, GROUND)), tuple(colour), wood * 0.08)
                continue
            low = y + storey * 0.5
            scene.lay(scene.mask(box(x - 1.5, y - 1.5, x + 14.5, low + 1.5)), (0.88, 0.87, 0.84))
            glass = scene.rng.uniform(0.16, 0.30)
            warm = scene.rng.random() < 0.25
            pane = (0.85, 0.66, 0.36) if warm else (glass, glass * 1.12, glass * 1.25)
            scene.lay(
                scene.mask(box(x, y, x + 13, low)), pane, scene.noise((30, 12), (9, 9)) * 0.12
            )
            bars = (box(x + 6, y, x + 7, low), box(x, (y + low) / 2, x + 13, (y + low) / 2 + 0.9))
            scene.lay(scene.mask(*bars), (0.88, 0.87, 0.84))
            scene.shade(scene.mask(box(x - 2, low + 1.5, x + 15, low + 3.5), soft=0.4), 0.4)


def draw_tree(scene: Scene, x: float, foot: float, size: float) -> None:
    """A trunk and a crown of many small leaves, lighter on the upper left."""
    bark = scene.noise((2, 12), (1, 5))
    trunk = [
        (x - size * 0.05, foot),
        (x - size * 0.03, foot - size),
        (x + size * 0.03, foot - size),
    ]
    scene.lay(scene.mask([*trunk, (x + size * 0.06, foot)]), (0.27, 0.21, 0.16), bark * 0.15)
    for layer in range(5):
        leaves = []
        for _ in range(260):
            angle, radius = scene.rng.uniform(0, 2 * np.pi), size * 0.42 * scene.rng.random() ** 0.6
            cx = x + radius * np.cos(angle) - layer * size * 0.015
            cy = foot - size * 1.08 + radius * 0.85 * np.sin(angle) - layer * size * 0.025
            turn = scene.rng.uniform(0, np.pi) + np.linspace(0, 2 * np.pi, 7)[:-1]
            leaf = scene.rng.uniform(0.012, 0.03) * size
            leaves.append(
                list(zip(cx + leaf * np.cos(turn), cy + leaf * np.sin(turn), strict=True))
            )
        light = 0.55 + 0.17 * layer
        colour = (0.25 * light, 0.37 * light, 0.15 * light)
        scene.lay(scene.mask(*leaves, soft=0.15) * (1 - 0.12 * layer), colour, bark * 0.05)


def draw_lamp(scene: Scene, x: float, foot: float) -> None:
    """A lamp post with a lit lantern."""
    dark = (0.13, 0.15, 0.16)
    scene.lay(
        scene.mask(box(x - 1, foot - 92, x + 1, foot), box(x - 2.5, foot - 12, x + 2.5, foot)), dark
    )
    glass = [(x - 5, foot - 108), (x + 5, foot - 108), (x + 3, foot - 93), (x - 3, foot - 93)]
    scene.lay(scene.mask(glass, soft=5) * 0.8, (1.0, 0.86, 0.58))
    scene.lay(scene.mask(glass), (1.0, 0.93, 0.74))
    cap = [(x - 7, foot - 108), (x, foot - 114), (x + 7, foot - 108)]
    scene.lay(scene.mask(cap, box(x - 3, foot - 94, x + 3, foot - 91)), dark)


def wet_road(scene: Scene) -> None:
    """Let the road mirror what stands behind it, smeared by the water."""
    top, depth = (GROUND + 23) * FINE, (HEIGHT - GROUND - 23) * FINE
    behind = scene.pixels[(GROUND + 17) * FINE - 2 * depth : (GROUND + 17) * FINE : 2][::-1]
    mirrored = Image.fromarray((behind.clip(0, 1) * 255).astype(np.uint8))
    smeared = (
        np.asarray(mirrored.filter(ImageFilter.BoxBlur((2 * FINE, 7 * FINE))), np.float32) / 255
    )
    puddles = np.clip(0.25 + 0.12 * scene.noise((90, 9), (30, 5)), 0.08, 0.5)[top:, :, None]
    scene.pixels[top:] += puddles * (smeared - 0.22 - scene.pixels[top:] * 0.55)


def draw_street(seed: int = SEED) -> Pixels:
    """The street without rain, (HEIGHT, WIDTH, 3), in [0, 1]."""
    scene = Scene(seed)
    draw_sky(scene)
    draw_hills(scene)
    draw_ground(scene)
    draw_tree(scene, 20, GROUND, 70)
    draw_tree(scene, 300, GROUND - 4, 62)
    draw_house(scene, 42, 84, 70, wall=(0.80, 0.72, 0.56), floors=2)
    draw_house(scene, 134, 60, 96, wall=(0.62, 0.38, 0.30), floors=3)
    draw_house(scene, 204, 78, 66, wall=(0.78, 0.77, 0.74), floors=2)
    draw_house(scene, 330, 104, 82, wall=(0.58, 0.66, 0.68), floors=3)
    draw_tree(scene, 452, GROUND + 6, 108)
    draw_lamp(scene, 318, GROUND + 12)
    wet_road(scene)
    scene.pixels += scene.noise((1.2, 1.2))[..., None] * 0.006
    pixels = Image.fromarray((scene.pixels.clip(0, 1) * 255).round().astype(np.uint8))
    small = pixels.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    return np.asarray(small, np.float32) / np.float32(255)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws the rainy street of the README.")
    parser.add_argument("--out", type=Path, default=Path("rainy.png"))
    parser.add_argument("--clean", type=Path, help="where to write the street without rain")
    arguments = parser.parse_args()
    clean = draw_street()
    if arguments.clean:
        Image.fromarray((clean * 255).round().astype(np.uint8)).save(arguments.clean)
    batch = torch.from_numpy(clean).permute(2, 0, 1)[None]
    rain = RainRenderer("light", generator=torch.Generator().manual_seed(RAIN_SEED))
    rainy = rain(batch).rainy[0].permute(1, 2, 0).numpy()
    Image.fromarray((rainy * 255).round().astype(np.uint8)).save(arguments.out, optimize=True)


if __name__ == "__main__":
    main()
