"""Pictures of results, drawn with Pillow alone: a strip of stages, and a chart of scores."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

PANEL = 320  # pixels; larger images are shrunk to this width
COLUMNS = 5
GAP, TITLE = 8, 22
ERROR_PEAK = 64  # levels of 255 that the error map shows as white
INK, PALE = (30, 30, 30), (225, 225, 225)
# Okabe and Ito's palette, told apart by the colour-blind too.
COLOURS = [
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
]
Colour = tuple[int, int, int]
MARKS = ("disc", "square", "triangle", "ring")  # told apart where the colours come again


def strip(panels: Mapping[str, Image.Image]) -> Image.Image:
    """Panels of one size with their titles, at most five in a row.

    Args:
        panels: RGB images by title, in order.
    """
    first = next(iter(panels.values()))
    scale = min(1.0, PANEL / first.width)
    width, height = round(first.width * scale), max(1, round(first.height * scale))
    rows = math.ceil(len(panels) / COLUMNS)
    columns = math.ceil(len(panels) / rows)  # rows of equal length, if that can be
    cell_w, cell_h = max(width, 180) + GAP, height + TITLE + GAP
    sheet = Image.new("RGB", (columns * cell_w + GAP, rows * cell_h + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (title, panel) in enumerate(panels.items()):
        left, top = GAP + index % columns * cell_w, GAP + index // columns * cell_h
        draw.text((left, top), title, INK, ImageFont.load_default(15))
        small = panel.resize((width, height), Image.Resampling.LANCZOS)
        sheet.paste(small, (left, top + TITLE))
    return sheet


def to_picture(image: Tensor) -> Image.Image:
    """(1, 3, H, W) uint8 to a Pillow image."""
    return Image.fromarray(image[0].permute(1, 2, 0).cpu().contiguous().numpy())


def error_map(test: Image.Image, clean: Image.Image) -> Image.Image:
    """The mean error of R, G and B in false colours: black 0, red, yellow, white 64 levels."""
    difference = np.abs(np.asarray(test, np.float32) - np.asarray(clean, np.float32)).mean(-1)
    heat = 3 * np.clip(difference / ERROR_PEAK, 0, 1)
    colours = np.stack([heat, heat - 1, heat - 2], axis=-1).clip(0, 1)
    return Image.fromarray((255 * colours).round().astype(np.uint8))


def chart(
    series: Mapping[str, Sequence[tuple[float, float]]],
    x_label: str,
    y_label: str,
    *,
    log_x: bool = False,
) -> Image.Image:
    """A line for each series, named beside its end; if all have one point, named dots.

    Args:
        series: points (x, y) by label; those that are not finite are left out.
        x_label: what x is, with its unit.
        y_label: what y is, with its unit.
        log_x: logarithmic x axis; x must be positive.
    """
    series = {
        label: [point for point in points if all(map(math.isfinite, point))]
        for label, points in series.items()
    }
    axes = _Axes(series, log_x)
    axes.frame(x_label, y_label)
    axes.plot(series)
    return axes.image


class _Axes:
    """The drawing area of a chart: a frame of 796×466 pixels, data mapped into it.

    The names of lines stand right of the frame, each at the height where its line ends.
    """

    left, top, right, bottom = 80, 24, 876, 490
    line = 20  # pixels from one name to the next

    def __init__(self, series: Mapping[str, Sequence[tuple[float, float]]], log_x: bool) -> None:
        self.font = ImageFont.load_default(16)
        self.log_x = log_x
        self.dots = all(len(points) < 2 for points in series.values())
        names = [0.0] if self.dots else [12 + self.font.getlength(label) for label in series]
        self.image = Image.new("RGB", (900 + math.ceil(max(names, default=0)), 560), "white")
        self.draw = ImageDraw.Draw(self.image)
        xs = [x for points in series.values() for x, _ in points] or [1.0]
        ys = [y for points in series.values() for _, y in points] or [0.0]
        self.x_ticks = _log_ticks(xs) if log_x else _ticks(xs, whole=True)
        self.y_ticks = _ticks(ys)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixel of a data point."""
        across = _share(x, self.x_ticks, self.log_x)
        up = _share(y, self.y_ticks, False)
        return (
            self.left + across * (self.right - self.left),
            self.bottom - up * (self.bottom - self.top),
        )

    def frame(self, x_label: str, y_label: str) -> None:
        for y in self.y_ticks:
            height = self.at(self.x_ticks[0], y)[1]
            self.draw.line((self.left, height, self.right, height), PALE)
            self.draw.text((self.left - 8, height), f"{y:g}", INK, self.font, anchor="rm")
        for x in self.x_ticks:
            across = self.at(x, self.y_ticks[0])[0]
            self.draw.line((across, self.top, across, self.bottom), PALE)
            self.draw.text((across, self.bottom + 8), _short(x), INK, self.font, anchor="mt")
        self.draw.rectangle((self.left, self.top, self.right, self.bottom), outline=INK)
        middle = (self.left + self.right) / 2
        self.draw.text((middle, 552), x_label, INK, self.font, anchor="mb")
        sideways = Image.new("RGB", (400, 22), "white")
        ImageDraw.Draw(sideways).text((200, 11), y_label, INK, self.font, anchor="mm")
        self.image.paste(sideways.rotate(90, expand=True), (4, 57))

    def plot(self, series: Mapping[str, Sequence[tuple[float, float]]]) -> None:
        """Draw the lines first, then their marks, then their names: the last stay readable."""
        spots = {label: [self.at(*point) for point in series[label]] for label in series}
        colours = {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(series)}
        marks = {label: MARKS[i // len(COLOURS) % len(MARKS)] for i, label in enumerate(series)}
        for label, found in spots.items():
            if len(found) > 1:
                self.draw.line(found, colours[label], 3, joint="curve")
        for label, found in spots.items():
            for x, y in found:
                self._mark(x, y, marks[label], colours[label])
        ends = {label: found[-1] for label, found in spots.items() if found}
        if self.dots:
            self._name_dots(ends, colours)
        else:
            self._name_lines(ends, colours, marks)

    def _name_lines(
        self,
        ends: Mapping[str, tuple[float, float]],
        colours: Mapping[str, Colour],
        marks: Mapping[str, str],
    ) -> None:
        order = sorted(ends, key=lambda label: ends[label][1])
        heights = apart([ends[label][1] for label in order], self.line, self.top, self.bottom)
        for label, height in zip(order, heights, strict=True):
            self._mark(self.right + 16, height, marks[label], colours[label])
            where = (self.right + 26, height)
            self.draw.text(where, label, colours[label], self.font, anchor="lm")

    def _name_dots(
        self, ends: Mapping[str, tuple[float, float]], colours: Mapping[str, Colour]
    ) -> None:
        taken: list[tuple[float, float, float, float]] = [
            (x - 6, y - 6, x + 6, y + 6) for x, y in ends.values()
        ]
        for label, (x, y) in ends.items():
            inwards = x > (self.left + self.right) / 2
            anchor, shift = ("rm", -12) if inwards else ("lm", 12)
            # Beside the dot, or as near above or below as there is room.
            for step in sorted(range(-24, 25), key=abs):
                spot = (x + shift, y + step * self.line / 2)
                box = self.draw.textbbox(spot, label, self.font, anchor=anchor)
                inside = self.top <= box[1] and box[3] <= self.bottom
                if inside and not any(_meet(box, other) for other in taken):
                    break
            if step:
                self.draw.line((x, y, spot[0] - shift / 4, spot[1]), colours[label])
            self.draw.text(spot, label, colours[label], self.font, anchor=anchor)
            taken.append(box)

    def _mark(self, x: float, y: float, mark: str, colour: Colour) -> None:
        box = (x - 5, y - 5, x + 5, y + 5)
        if mark == "disc":
            self.draw.ellipse(box, colour)
        elif mark == "square":
            self.draw.rectangle(box, colour)
        elif mark == "triangle":
            self.draw.polygon([(x, y - 6), (x + 6, y + 5), (x - 6, y + 5)], colour)
        else:
            self.draw.ellipse(box, "white", colour, 2)


def apart(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move sorted heights as little as it takes to stand ``gap`` apart from low to high.

    Where there is no room for that, they stand evenly.

    Examples:
        >>> apart([10.0, 12.0, 50.0], 20, 0, 100)
        [1.0, 21.0, 50.0]
    """
    gap = min(gap, (high - low) / max(1, len(heights) - 1))
    groups: list[tuple[float, int]] = []  # where the first would like to stand, on average; size
    for height in heights:
        first, size = min(max(height, low), high), 1
        while groups and groups[-1][0] + groups[-1][1] * gap > first:
            before, count = groups.pop()
            first = (before * count + (first - count * gap) * size) / (count + size)
            size += count
            first = min(max(first, low), high - (size - 1) * gap)
        groups.append((first, size))
    return [first + index * gap for first, size in groups for index in range(size)]


def _meet(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    """Whether two boxes (left, top, right, bottom) have a point in common."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _share(value: float, ticks: Sequence[float], log: bool) -> float:
    """Where between the first and the last tick a value lies, 0 … 1."""
    low, high, value = (math.log10(v) if log else v for v in (ticks[0], ticks[-1], value))
    return (value - low) / (high - low)


def _ticks(values: Sequence[float], whole: bool = False) -> list[float]:
    """About six round numbers that enclose the values; with ``whole``, whole steps at least."""
    low, high = min(values), max(values)
    span = high - low or 1.0
    rough = span / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    step = max(step, 1.0) if whole else step
    first = math.floor(low / step)
    last = max(math.ceil(high / step), first + 1)
    return [round(step * index, 10) for index in range(first, last + 1)]


def _log_ticks(values: Sequence[float]) -> list[float]:
    """1, 2 and 5 times powers of ten that enclose the values."""
    powers = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    ticks = [m * 10.0**power for power in powers for m in (1, 2, 5)]
    low = max(i for i, tick in enumerate(ticks) if tick <= min(values) * 1.001)
    high = next((i for i, t in enumerate(ticks) if t >= max(values) and i > low), len(ticks) - 1)
    return ticks[low : high + 1]


def _short(value: float) -> str:
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{suffix}"
    return f"{value:g}"
