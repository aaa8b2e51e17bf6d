import re
from pathlib import Path

import torch
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_before_and_after_are_told(example, tiny, tmp_path):
    *lines, _ = example("failures", "--model", tiny, "-o", tmp_path / "failures.jpg")
    titles = [line.split(":")[0] for line in lines]
    assert titles == ["drops on the lens", "snow", "rain by night"]
    for line in lines:
        before, _ = (float(number) for number in re.findall(r"([\d.]+) dB", line))
        assert 15 < before < 40
    assert Image.open(tmp_path / "failures.jpg").size == Image.open(EXAMPLES / "failures.jpg").size


def test_the_weathers_do_what_they_say(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    import failures

    grey = torch.full((1, 3, 60, 90), 0.5)
    snowy, wanted = failures.snow(grey, torch.Generator().manual_seed(0))
    assert wanted is grey
    assert (snowy >= grey).all()
    assert snowy.max() > 0.8
    dropped, _ = failures.drops(grey, torch.Generator().manual_seed(0))
    assert 0.01 < float((dropped - grey).abs().gt(0.01).float().mean()) < 0.95
    rainy, dry = failures.night(grey, torch.Generator().manual_seed(0))
    assert dry[..., -1, 0].max() < 0.4, "far from the lamps"
    assert (rainy >= dry - 1e-6).all()
    assert (rainy > dry + 0.01).any()


def test_the_committed_picture_is_small():
    assert (EXAMPLES / "failures.jpg").stat().st_size < 250_000
