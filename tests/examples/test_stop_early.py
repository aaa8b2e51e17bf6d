import pytest
import torch
from PIL import Image

from raincleave import load
from raincleave.data.layouts import find_pairs
from raincleave.data.pictures import read_image
from raincleave.metrics import psnr


def test_every_stage_has_its_score_and_its_time(example, pairs, tiny, tmp_path):
    plot = tmp_path / "stages.png"
    first, _, _, *rows = example("stop_early", pairs, tiny, "--images", "2", "--plot", plot)
    assert first == "2 images"
    cells = [row.strip("| ").split(" | ") for row in rows]
    assert [row[:2] for row in cells] == [["tiny", "1"], ["tiny", "2"]]
    assert 0 < float(cells[0][3]) <= float(cells[1][3])
    assert cells[1][4] == "100 %"
    width, height = Image.open(plot).size
    assert (width > 900, height) == (True, 560), "names stand beside the frame"
    network, scores = load(tiny), []
    found = find_pairs(pairs).pairs
    for pair in found[:: len(found) // 2][:2]:
        rainy, clean = (read_image(p)[None].float() / 255 for p in (pair.rainy, pair.clean))
        with torch.inference_mode():
            scores.append(psnr(network(rainy).clamp(0, 1), clean).item())
    assert float(cells[1][2]) == pytest.approx(sum(scores) / 2, abs=0.006)
