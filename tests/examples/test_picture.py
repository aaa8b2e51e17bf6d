import re
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.slow
def test_as_it_stands(example, tmp_path):
    light, heavy, _ = example("picture", "-o", tmp_path / "picture.jpg")
    for row, gain in ((light, 0.5), (heavy, 5)):
        rainy, *_, result = (float(number) for number in re.findall(r"([\d.]+) dB", row))
        assert result > rainy + gain


def test_a_network_with_fewer_stages(example, tiny, tmp_path):
    light, heavy, last = example("picture", "--model", tiny, "-o", tmp_path / "picture.jpg")
    titles = ["rain, rendered", "after stage 1", "after stage 2: the result"]
    for row, preset in ((light, "light "), (heavy, "heavy ")):
        assert re.sub(r" [\d.]+ dB", "", row) == preset + ", ".join(titles)
    with Image.open(tmp_path / "picture.jpg") as made:
        assert f"{made.width}x{made.height}" in last
        assert made.width == 3 * 357 + 12


def test_the_committed_picture_is_small():
    assert (EXAMPLES / "picture.jpg").stat().st_size < 350_000
    with Image.open(EXAMPLES / "picture.jpg") as picture:
        assert picture.size == (1440, 546)


def test_every_photograph_has_its_licence():
    told = (EXAMPLES / "photos" / "LICENCES.md").read_text("utf-8")
    photos = sorted((EXAMPLES / "photos").glob("*.jpg"))
    assert len(photos) >= 3
    for photo in photos:
        assert f"| `{photo.name}` |" in told
        assert photo.stat().st_size < 120_000
