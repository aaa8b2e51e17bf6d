import torch

from raincleave.models import DRN


def test_every_kind_rains_and_every_network_has_its_column(example, pairs, tmp_path):
    network = DRN(stages=1, recursions=1, channels=8)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    network.save(tmp_path / "nothing.safetensors")
    options = pairs / "clean", tmp_path / "nothing.safetensors", "drn-7x7", "--images", "2"
    head, _, *rows = example("kinds_of_rain", *options)
    assert head == "| 2 photographs | rainy | nothing | drn-7x7 |"
    assert len(rows) == 7
    for row in rows:
        _, rainy, nothing, trained = row.strip("| ").split(" | ")
        assert 15 < float(rainy.split(" / ")[0]) < 40
        assert nothing == rainy != trained
