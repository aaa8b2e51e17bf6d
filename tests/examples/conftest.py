"""Runs the examples as they stand, in this process and in a folder that goes away."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from raincleave.data.synthesis import RainRenderer
from raincleave.inference.images import to_tensor
from raincleave.models import DRN

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(monkeypatch, capsys, tmp_path):
    """``example("score", pairs)``: what ``python examples/score.py PAIRS`` prints, by line."""

    def run(name, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(EXAMPLES)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def pairs(tmp_path):
    """A folder with ``rainy`` and ``clean``: parts of the photographs, 96×96, in light rain."""
    return _rain_on_photos(tmp_path / "pairs")


@pytest.fixture
def wet_pairs(tmp_path):
    """The same in so much rain that edges are lost."""
    return _rain_on_photos(tmp_path / "wet", cover=(0.2, 0.2), brightness=(0.3, 0.3))


def _rain_on_photos(folder, **rain):
    renderer = RainRenderer("light", generator=torch.Generator().manual_seed(3))
    renderer = renderer.with_(slant=(-15, 15), **rain)
    for photo in sorted((EXAMPLES / "photos").glob("*.jpg")):
        picture = Image.open(photo).crop((120, 100, 216, 196))
        clean, as_picture = to_tensor(picture)
        for name, tensor in (("clean", clean), ("rainy", renderer(clean).rainy)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            as_picture(tensor).save(folder / name / f"{photo.stem}.png")
    return folder


@pytest.fixture
def tiny(tmp_path):
    """A file of weights of an untrained network that takes no time."""
    torch.manual_seed(0)
    DRN(stages=2, recursions=1, channels=8).save(tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def nothing(tmp_path):
    """A file of weights of a network that gives back what it is given."""
    network = DRN(stages=1, recursions=1, channels=8)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    network.save(tmp_path / "nothing.safetensors")
    return tmp_path / "nothing.safetensors"
