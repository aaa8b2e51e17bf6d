"""``--device``, of every command."""

import pytest
import torch

from raincleave.commands.device import device_named, load_on
from raincleave.errors import ConfigError
from raincleave.models import DRN


@pytest.mark.parametrize(
    ("there", "chosen"),
    [(["cuda", "mps"], "cuda"), (["mps"], "mps"), ([], "cpu")],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_auto_is_the_gpu_if_there_is_one(monkeypatch, there, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in there)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in there)
    asked = []
    monkeypatch.setattr(torch, "zeros", lambda n, device: asked.append(device) or torch.empty(n))
    device_named("auto")
    assert asked == [chosen]


def test_a_device_that_is_not_there_is_told():
    with pytest.raises(ConfigError, match=r"--device warp cannot be used here: .*[^.]\.$"):
        device_named("warp")


def test_a_model_is_put_there():
    assert load_on("drn-7x7", "cpu").device == torch.device("cpu")


def test_a_device_that_cannot_hold_the_model_is_told(monkeypatch):
    def full(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(DRN, "to", full)
    with pytest.raises(ConfigError, match=r"cannot be used here .*out of memory"):
        load_on("drn-7x7", "cpu")
