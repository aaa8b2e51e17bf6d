import pytest
import torch

from raincleave.models import BRN


def test_a_layer_of_nothing_adds_up_by_as_much_as_it_lacks(example, pairs, tmp_path):
    network = BRN(stages=1)
    with torch.no_grad():
        for last in (network.f_r.f_out, network.f_x.f_out):
            for parameter in last.parameters():
                parameter.zero_()
        network.f_r.f_out.bias.fill_(0.1)
    network.save(tmp_path / "grey.safetensors")
    head, _, row = example("rain_layer", pairs, tmp_path / "grey.safetensors", "--images", "2")
    assert head == "| 2 images | adds up | rain | difference |"
    adds_up, rain, difference = map(float, row.strip("| ").split(" | ")[1:])
    assert 3 < adds_up < 20, "0.1 against a picture"
    assert rain == pytest.approx(20, abs=4), "0.1 against a little rain"
    assert 3 < difference < 15, "the picture itself is taken for rain"


def test_a_network_without_a_rain_layer_is_refused(example, pairs, tiny):
    with pytest.raises(SystemExit, match="DRN estimates no rain layer"):
        example("rain_layer", pairs, tiny)
