"""Pictures side by side, each with a line of text above it: what stages, picture, failures draw.

Imported by them, and nothing to run.
"""

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

# A dark card with its own margin: it looks at home on light and on dark pages.
CARD, TITLE, NOTE = "#14181d", "#f0f3f6", "#9da7b3"


class Panel(NamedTuple):
    """One picture of a sheet."""

    title: str
    image: Tensor
    """(3, H, W), RGB in [0, 1]; clamped."""
    note: str = ""
    """Written at the right, in grey."""


def to_image(image: Tensor) -> Image.Image:
    """(3, H, W) in [0, 1] -> a Pillow image, rounded to 8 bits."""
    levels = image.detach().float().clamp(0, 1).mul(255).round().byte()
    return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy())


def sheet(panels: Sequence[Panel], columns: int, width: int, gap: int = 12) -> Image.Image:
    """All panels in rows, each reduced to ``width`` pixels.

    Args:
        panels: all of the size of the first.
        columns: panels in a row.
        width: of a panel in pixels.
        gap: between panels, and around them, in pixels.
    """
    _, tall, wide = panels[0].image.shape
    height, line = round(width * tall / wide), round(width / 14)
    title = ImageFont.load_default(line * 0.72)
    rows = -(-len(panels) // columns)
    size = (gap + columns * (width + gap), gap + rows * (line + height + gap))
    card = Image.new("RGB", size, CARD)
    draw = ImageDraw.Draw(card)
    for k, panel in enumerate(panels):
        x = gap + (k % columns) * (width + gap)
        y = gap + (k // columns) * (line + height + gap)
        middle = y + line * 0.42
        draw.text((x + 1, middle), panel.title, TITLE, title, anchor="lm")
        draw.text((x + width - 1, middle), panel.note, NOTE, title, anchor="rm")
        picture = to_image(panel.image)
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        card.paste(picture, (x, y + line))
    return card
