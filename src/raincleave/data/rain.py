"""What rain looks like, in numbers a person would name, and the named presets.

``heavy`` is calibrated on the 12 genuine RainTrainH pairs (rain of the same kind as Rain100H's),
``light`` on what is published of Rain100L. As ``examples/compare_rain.py RainTrainH --renders 4``
measured, on the same backgrounds, in 8-bit levels:

| heavy | genuine | rendered |
|---|---|---|
| rainy pixels | 89.6 % | 87.4 % |
| mean R | 48.6 | 51.9 |
| input PSNR (csdwren) | 15.26 dB | 14.60 dB |
| spectral energy within 15° of the main slant | 78.5 % | 88.1 % |
| R in 0–1, 1–10, 10–30, 30–60, % | 10.4, 15.3, 18.3, 20.4 | 12.6, 14.8, 16.2, 18.5 |
| R in 60–90, 90–120, 120–256, % | 16.5, 10.7, 8.6 | 14.8, 11.6, 11.5 |
| derained by the authors' DRN | 26.86 dB | 26.11 dB |
| derained by the authors' SRN | 29.55 dB | 28.79 dB |

So the rendered rain is somewhat heavier, and the networks find it as much harder; it keeps closer
to one direction. What makes it alike is that streaks are hard: those of one direction end at a
ceiling and leave gaps, and a few such layers add up.

No genuine pair of light rain was at hand. On the 209 training scenes
``examples/compare_rain.py PHOTOS --photos --preset light --renders 1`` measured

| light | published of Rain100L | rendered |
|---|---|---|
| rainy pixels | 24 % | 20.4 % |
| mean R | 5.7 | 5.4 |
| input PSNR, SSIM (csdwren) | 26.90 dB, 0.838 | 27.82 dB, 0.859 |

How slanted, long, wide, bright and hard the streaks are is not published, so ``light`` draws each
from a wide range. It has to: a network trained with slants up to 30° alone leaves rain at 45° where
it is, and one trained on dim streaks leaves bright ones (``examples/kinds_of_rain.py``).
"""

import math
from dataclasses import dataclass

from raincleave.errors import ConfigError

Range = tuple[float, float]
_ABOVE_0 = ("cover", "length", "width", "brightness", "hardness")
_FROM_0 = ("spread", "level", "taper", "blur", "veil", "noise", "jpeg")


@dataclass(frozen=True)
class Rain:
    """What rain looks like. Every range (low, high) is drawn from anew for each image."""

    slant: Range = (-30, 30)
    """Main direction in degrees from vertical, uniform."""
    slants: tuple[int, int] = (1, 1)
    """Number of directions in one image."""
    slant_offset: float = 10
    """Standard deviation of the further directions about the main one, in degrees."""
    spread: Range = (0, 1.5)
    """Standard deviation of single streaks about their direction, in degrees, uniform."""
    cover: Range = (0.05, 0.2)
    """Streaks that lie over a pixel on average, log-uniform."""
    length: Range = (15, 40)
    """Mean length of the streaks in pixels, log-uniform."""
    length_variation: float = 0.3
    """Standard deviation of log(length) within an image."""
    width: Range = (0.6, 1.0)
    """Mean σ of the Gaussian profile across a streak, in pixels, log-uniform."""
    width_variation: float = 0.15
    """Standard deviation of log(width) within an image."""
    brightness: Range = (0.1, 0.3)
    """Mean peak brightness of the streaks, in image units, log-uniform."""
    brightness_variation: float = 0.4
    """Standard deviation of log(brightness) within an image."""
    hardness: Range | None = None
    """Peak of the streaks over the ceiling of their layer, log-uniform: the streaks of a direction
    are a layer, cut off at ``brightness * level``, and the layers add up; None knows no ceiling."""
    level: Range = (0.3, 1)
    """Brightness of a layer over that of the image, uniform; for layers with a ceiling."""
    taper: Range = (0.2, 0.5)
    """Part of a streak over which each end fades, 0 … 0.5, uniform."""
    depth: float = 1.0
    """Farthest layer's distance over the nearest one's; far streaks are short, thin and faint."""
    blur: Range = (0, 0)
    """Depth of field: σ in pixels by which the nearest streaks are out of focus, uniform."""
    screen: float = 0.0
    """Probability that the rain is blended by screen, 1 − (1 − B)(1 − R), instead of added."""
    veil: Range = (0, 0)
    """Share of the picture replaced by even grey mist, uniform."""
    veil_at: float = 0.0
    """Mean of R, in image units, from which on the mist is as dense as drawn; in less rain, whose
    farthest drops it is, it is thinner. With 0 there is mist whatever it rains."""
    tint: float = 0.0
    """Standard deviation of the streaks' colour about white, a channel; 0 is achromatic."""
    noise: Range = (0, 0)
    """σ of the sensor noise added after the rain, in image units, uniform."""
    jpeg: tuple[int, int] | None = None
    """Quality of a JPEG compression after everything else, uniform; None leaves it out."""

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn.

        Raises:
            ConfigError: a range runs downwards, or below what its field can be.
        """
        for name in ("slant", "slants", *_ABOVE_0, *_FROM_0):
            drawn = getattr(self, name)
            if drawn is None and name in ("hardness", "jpeg"):
                continue
            low, high = drawn
            least = {"slants": 1}.get(name, 0 if name in _FROM_0 else -math.inf)
            if not least <= low <= high < math.inf or (name in _ABOVE_0 and low <= 0):
                bound = "above 0" if name in _ABOVE_0 else f"from {least}"
                where = "" if least == -math.inf and name not in _ABOVE_0 else f" {bound} upwards"
                raise ConfigError(f"{name} is a range (low, high){where}, not {drawn!r}.")
        if not self.depth >= 1:
            raise ConfigError(f"depth is at least 1, not {self.depth!r}.")


PRESETS: dict[str, Rain] = {
    "light": Rain(
        slant=(-50, 50),
        spread=(0, 2),
        cover=(0.03, 0.22),
        length=(6, 70),
        length_variation=0.4,
        width=(0.4, 1.6),
        width_variation=0.25,
        brightness=(0.1, 0.65),
        brightness_variation=0.6,
        hardness=(0.4, 4),
        level=(1, 1),
        taper=(0.1, 0.5),
    ),
    "heavy": Rain(
        slant=(-12, 12),
        slants=(2, 4),
        slant_offset=7,
        spread=(0.3, 2),
        cover=(0.45, 3.3),
        length=(60, 250),
        length_variation=0.5,
        width=(0.35, 0.7),
        width_variation=0.3,
        brightness=(0.27, 0.56),
        brightness_variation=0.6,
        hardness=(0.5, 2),
        level=(0.4, 1),
        taper=(0.05, 0.4),
    ),
    "real": Rain(
        slant=(-55, 55),
        slants=(1, 2),
        spread=(0, 4),
        cover=(0.08, 1.2),
        length=(8, 90),
        length_variation=0.5,
        width=(0.5, 1.8),
        width_variation=0.25,
        brightness=(0.07, 0.4),
        brightness_variation=0.6,
        depth=4,
        blur=(0, 2.5),
        screen=0.5,
        veil=(0, 0.25),
        veil_at=0.04,
        tint=0.02,
        noise=(0, 0.02),
        jpeg=(60, 98),
    ),
}
