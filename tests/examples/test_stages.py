import re

import torch
from PIL import Image

from raincleave.inference.images import to_tensor
from raincleave.models import BRN


def test_every_stage_has_its_panel_and_its_figure(example, wet_pairs, tmp_path):
    photo = wet_pairs / "rainy" / "pavilion.png"
    (line,) = example("stages", photo, "--clean", wet_pairs / "clean" / "pavilion.png")
    assert re.findall(r"stage \d|rain\w*", line) == [
        "rainy",
        *(f"stage {t}" for t in range(1, 8)),
        "rain",
    ]
    rainy, *_, last = (float(number) for number in re.findall(r"([\d.]+) dB", line))
    assert last > rainy + 1
    # 3×3 panels of 480×480 with their lines of text of 34, and 12 around each.
    assert Image.open(tmp_path / "stages.png").size == (3 * 492 + 12, 3 * (480 + 34 + 12) + 12)


def test_without_a_clean_picture_no_figure_is_claimed(example, tiny):
    (line,) = example("stages", "--model", tiny, "-o", "all.png")
    assert line == "wrote all.png: rainy, stage 1, stage 2, rain taken out"


def test_a_rain_layer_that_the_network_estimates_is_shown(example, pairs, tmp_path):
    torch.manual_seed(0)
    network = BRN(stages=2)
    network.save(tmp_path / "brn.safetensors")
    photo = pairs / "rainy" / "autumn.png"
    example("stages", photo, "--model", tmp_path / "brn.safetensors")
    # Rainy, two stages and the layer: the fourth panel starts the second row.
    left, top = 12, 12 + 34 + 480 + 12 + 34
    shown = Image.open(tmp_path / "stages.png").crop((left, top, left + 480, top + 480))
    with torch.inference_mode():
        rain = list(network.eval().unroll(to_tensor(photo)[0]))[-1].rain
    seen = to_tensor(shown.resize((96, 96)))[0]
    assert (seen - rain.clamp(0, 1)).abs().mean() < 0.02
