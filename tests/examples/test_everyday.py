import torch

from raincleave.models import DRN


def test_a_network_that_does_nothing_leaves_alone_and_gains_nothing(example, pairs, tmp_path):
    network = DRN(stages=1, recursions=1, channels=8)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    network.save(tmp_path / "nothing.safetensors")
    options = pairs / "clean", tmp_path / "nothing.safetensors", "--images", "2"
    head, _, row = example("everyday", *options)
    assert head.startswith("| 2 photographs | left alone | real rain |")
    name, alone, rainy, derained, gain = row.strip("| ").split(" | ")
    assert (name, alone, gain) == ("nothing", "100.00", "+0.00 dB")
    assert 10 < float(rainy) == float(derained) < 45
