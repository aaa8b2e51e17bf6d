import pytest
import torch
from PIL import Image

from raincleave.inference.images import to_tensor
from raincleave.models import RRANet


@pytest.fixture
def rranet(tmp_path):
    torch.manual_seed(0)
    network = RRANet(stages=2, width=4)
    network.save(tmp_path / "rranet.safetensors")
    return network.eval()


def test_contrast_and_the_maps_of_all_scales_are_drawn(example, pairs, rranet, tmp_path):
    photo = pairs / "rainy" / "pavilion.png"
    (line,) = example("attention", photo, "--model", tmp_path / "rranet.safetensors")
    for title in ("RLCN", "attention, 1/4", "attention, 1/2", "attention, 1/1", "stage 2"):
        assert title in line
    with torch.inference_mode():
        *_, last = rranet.trace(to_tensor(photo)[0])
    finest = last.attention[-1]
    assert f"{finest.min():.2f} to {finest.max():.2f}" in line
    # 2×3 panels of 480×480; the fifth holds the finest map.
    left, top = 12 + 492, 12 + 34 + 480 + 12 + 34
    shown = Image.open(tmp_path / "attention.png").crop((left, top, left + 480, top + 480))
    seen = to_tensor(shown.resize((96, 96)))[0]
    assert (seen - finest).abs().mean() < 0.02


def test_other_networks_and_stages_are_refused(example, tiny, rranet, tmp_path, capsys):
    with pytest.raises(SystemExit):
        example("attention", "--model", tiny)
    assert "is a DRN, which has no attention maps" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        example("attention", "--model", tmp_path / "rranet.safetensors", "--stage", "3")
    assert "--stage is 1 to 2, not 3" in capsys.readouterr().err


def test_without_arguments_the_packaged_network_looks_at_the_packaged_picture(example):
    (line,) = example("attention")
    assert "attention, 1/1" in line
