"""What a type checker says of a user's first lines."""

import pytest

LINES = """
import numpy as np
import torch
from PIL import Image
from raincleave import derain, load
from raincleave.inference.files import save

model = load("drn-7x7")
model.derain("a.png").save("b.png")
model.derain(Image.open("a.png")).rotate(90)
model.derain(np.zeros((4, 4, 3), np.uint8), precision="fast").astype(np.float32)
model.derain(torch.zeros(3, 4, 4), stages="auto").mean()
save(derain("a.png"), "b.jpg")
"""


@pytest.mark.slow
def test_what_is_derained_is_known_to_be_of_its_kind(tmp_path):
    api = pytest.importorskip("mypy.api")
    (tmp_path / "mine.py").write_text(LINES)
    told, _, code = api.run(["--strict", str(tmp_path / "mine.py")])
    assert code == 0, told
    (tmp_path / "mine.py").write_text(LINES + "model.derain('a.png').mean()\n")
    told, _, code = api.run(["--strict", str(tmp_path / "mine.py")])
    assert '"Image" has no attribute "mean"' in told
