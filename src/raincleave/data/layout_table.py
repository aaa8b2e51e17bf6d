"""How each benchmark names its files: the table `raincleave.data.layouts` reads.

A row says with two patterns, over paths relative to the dataset's folder, which files are clean and
which are rainy. Files with the same ``number`` (or ``stem``) belong together, one clean to one or
more rainy. A layout of your own is one more row; the first row that fits is taken.
"""

from typing import NamedTuple

_RAINY = "rainy|rain|input|inputs|lq"
_CLEAN = "clean|norain|no_rain|target|targets|gt|ground_truth|groundtruth|hq"


class Layout(NamedTuple):
    """One way to lay out a dataset.

    Attributes:
        name: the datasets that come this way.
        example: a clean and a rainy file, as people will find them.
        clean: pattern of clean files, without the suffix; empty where the two are halves of one
            picture.
        rainy: pattern of rainy files, with the same ``number`` or ``stem`` group as ``clean``.
        versions: number of pairs of each published edition.
        ratio: rainy images to each clean one, where it is fixed.

    Examples:
        >>> import re
        >>> rows = {layout.name: layout for layout in LAYOUTS}
        >>> re.fullmatch(rows["Rain1400"].rainy, "rainy_image/12_7")["number"]
        '12'
    """

    name: str
    example: str
    clean: str
    rainy: str
    versions: dict[int, str]
    ratio: int | None = 1


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "Rain100H/Rain100L",
        "norain-001.png and rainy/rain-001.png",
        r"norain-(?P<number>\d+)",
        r"rainy/rain-(?P<number>\d+)",
        {100: "test set of Rain100H or Rain100L, the 2017 edition of 100 pairs"},
    ),
    Layout(
        "RainTrainH/RainTrainL",
        "norain-1.png and rain-1.png",
        r"norain-(?P<number>\d+)",
        r"rain-(?P<number>\d+)",
        {
            1800: "RainTrainH, the 2017 edition with all 1,800 pairs, 546 of which show "
            "scenes of the Rain100 test sets",
            1254: "RainTrainH without the scenes of the Rain100 test sets (strict)",
            200: "RainTrainL, the 2017 edition of 200 pairs",
        },
    ),
    Layout(
        "Rain200H/Rain200L",
        "norain/norain-1.png and rain/norain-1x2.png (or rain/X2/norain-1x2.png)",
        r"norain/norain-(?P<number>\d+)",
        r"rain/(?:X2/)?norain-(?P<number>\d+)x2",
        {
            1800: "training set of Rain200H or Rain200L, the 2019 edition of 1,800 pairs",
            200: "test set of Rain200H or Rain200L, the 2019 edition of 200 pairs",
        },
    ),
    Layout(
        "Rain12",
        "groundtruth/001_GT.png and rainy/001_in.png (or 1.png in both)",
        r"groundtruth/(?P<number>\d+)(?:_GT)?",
        r"rainy/(?P<number>\d+)(?:_in)?",
        {12: "Rain12, complete"},
    ),
    Layout(
        "Rain1400",
        "ground_truth/12.jpg and rainy_image/12_7.jpg",
        r"ground_truth/(?P<number>\d+)",
        r"rainy_image/(?P<number>\d+)_\d+",
        {
            12600: "training set of Rain1400 (DDN), 900 scenes of 14 pairs",
            1400: "test set of Rain1400 (DDN), 100 scenes of 14 pairs",
        },
        ratio=14,
    ),
    Layout(
        "Rain1200",
        "Rain_Heavy/1.jpg, Rain_Medium/1.jpg and Rain_Light/1.jpg, each rainy and clean side by "
        "side",
        "",
        r"(?:[^/]*_)?(?:Heavy|Medium|Light)/(?:[^/]+/)?(?P<stem>[^/]+)",
        {
            12000: "training set of Rain1200 (DID-MDN), 4,000 pairs of each density",
            1200: "test set of Rain1200 (DID-MDN)",
        },
        ratio=None,
    ),
    Layout(
        "SPA-Data",
        "000.png and 000gt.png, or a text file with two paths a line",
        rf"(?:(?:{_CLEAN})/)?(?P<number>\d+)gt",
        rf"(?:(?:{_RAINY})/)?(?P<number>\d+)",
        {1000: "test set of SPA-Data", 638492: "training set of SPA-Data, complete"},
    ),
    Layout(
        "two folders",
        "input/NAME.png and target/NAME.png (or rainy, rain, lq and clean, norain, gt, "
        "ground_truth)",
        rf"(?:{_CLEAN})/(?P<stem>[^/]+)",
        rf"(?:{_RAINY})/(?P<stem>[^/]+)",
        {
            13711: "training set of Rain13K",
            13712: "training set of Rain13K",
            2800: "Test2800 of Rain13K",
            1200: "Test1200 of Rain13K",
            700: "training set of Rain800",
            100: "Test100, Rain100H or Rain100L of Rain13K",
        },
    ),
    Layout(
        "side by side",
        "1.jpg, rainy and clean side by side in one picture",
        "",
        r"(?P<stem>[^/]+)",
        {
            700: "training set of Rain800",
            100: "test set of Rain800 (Test100)",
            1200: "test set of Rain1200 (Test1200)",
        },
    ),
)
