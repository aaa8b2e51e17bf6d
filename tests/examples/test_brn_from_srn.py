import pytest
import torch

from raincleave import load
from raincleave.metrics import psnr
from raincleave.models import SRN


@pytest.fixture
def srn(tmp_path):
    """An untrained SRN of one stage that darkens the picture."""
    torch.manual_seed(0)
    network = SRN(stages=1)
    with torch.no_grad():
        network.f_out.weight.mul_(0.3)
        network.f_out.bias.fill_(-0.1)
    network.save(tmp_path / "srn.safetensors")
    return tmp_path / "srn.safetensors"


def test_brn_does_what_its_srn_does(example, pairs, srn, tmp_path):
    (told,) = example(
        "brn_from_srn", srn, tmp_path / "brn.safetensors", "--photos", pairs / "clean"
    )
    assert "which differs from" in told
    old, new = load(srn), load(tmp_path / "brn.safetensors")
    rainy = torch.rand(1, 3, 8, 8).repeat_interleave(8, 2).repeat_interleave(8, 3)
    with torch.inference_mode():
        assert psnr(new(rainy), old(rainy)) > 30
        stages = list(new.unroll(rainy))
    assert stages[-1].rain.std() > 1e-3, "F_r is alive"
    for name, parameter in new.f_x.named_parameters():
        assert parameter.isfinite().all(), name


def test_another_network_is_refused(example, pairs, tiny, tmp_path):
    SRN(stages=1, cell="gru").save(tmp_path / "gru.safetensors")
    SRN(stages=1, sees_rainy=False).save(tmp_path / "srn-x.safetensors")
    for other in (tiny, tmp_path / "gru.safetensors", tmp_path / "srn-x.safetensors"):
        with pytest.raises(SystemExit, match="no SRN with residual mapping, LSTM"):
            example("brn_from_srn", other, tmp_path / "b.safetensors", "--photos", pairs / "clean")
