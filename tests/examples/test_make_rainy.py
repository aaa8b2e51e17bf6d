"""The README's picture: the script that draws it runs, and it only ever adds rain."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("make_rainy", EXAMPLES / "make_rainy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "FINE", 1)  # nine times faster
    return module


def test_rain_is_added_to_the_street(script, monkeypatch, tmp_path):
    rainy_file, clean_file = tmp_path / "rainy.png", tmp_path / "clean.png"
    arguments = ["make_rainy.py", "--out", str(rainy_file), "--clean", str(clean_file)]
    monkeypatch.setattr(sys, "argv", arguments)
    script.main()
    clean, rainy = (np.asarray(Image.open(path), np.int16) for path in (clean_file, rainy_file))
    assert clean.shape == rainy.shape == (320, 480, 3)
    assert (rainy >= clean).all()
    assert 2 < (rainy - clean).mean() < 40
    assert clean.std() > 30


def test_the_packaged_picture_is_of_that_size():
    with Image.open(EXAMPLES / "rainy.png") as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (480, 320))
    assert (EXAMPLES / "rainy.png").stat().st_size < 400_000
