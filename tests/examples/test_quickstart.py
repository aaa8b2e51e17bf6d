from pathlib import Path

import numpy as np
from PIL import Image

RAINY = Path(__file__).parents[2] / "examples" / "rainy.png"


def test_the_street_is_derained(example, tmp_path):
    assert example("quickstart") == ["wrote derained.png, 480x320 pixels"]
    rainy, clean = (
        np.asarray(Image.open(path), float) for path in (RAINY, tmp_path / "derained.png")
    )
    assert 2 < (rainy - clean).mean() < 40, "rain brightens, so less of it is darker"


def test_a_photo_of_ones_own(example, pairs, tmp_path):
    (line,) = example("quickstart", pairs / "rainy" / "dogs.png", tmp_path / "dry.jpg")
    assert line == f"wrote {tmp_path / 'dry.jpg'}, 96x96 pixels"
