import pytest
import torch

from raincleave import load
from raincleave.cli import run


def convolution(name, outputs, inputs, generator):
    weight = 0.02 * torch.randn(outputs, inputs, 3, 3, generator=generator)
    return {f"{name}.weight": weight, f"{name}.bias": torch.zeros(outputs)}


def branch(suffix, inputs, generator):
    shapes = {f"conv0{suffix}.0": (32, inputs), f"conv{suffix}.0": (3, 32)}
    shapes |= {f"res_conv{k}{suffix}.{i}": (32, 32) for k in range(1, 6) for i in (0, 2)}
    shapes |= {f"conv_{gate}{suffix}.0": (32, 96) for gate in "ifog"}
    weights = {}
    for name, shape in shapes.items():
        weights |= convolution(name, *shape, generator)
    return weights


@pytest.fixture
def brn(tmp_path):
    generator = torch.Generator().manual_seed(0)
    weights = branch("", 9, generator) | branch("_r", 6, generator)
    torch.save({f"module.{key}": value for key, value in weights.items()}, tmp_path / "net.pth")
    return tmp_path / "net.pth"


def test_converts_with_a_report(brn, tmp_path, capsys):
    out = tmp_path / "ours.safetensors"
    assert run(["convert", str(brn), str(out), "--stages", "3"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{brn} is recognised as BRN.",
        "  told by the file  coupling=both, cell=lstm",
        "  told by you       stages=3",
        "  kept              44 tensors, 375,526 parameters",
        "  dropped           8 tensors of res_conv4_r, res_conv5_r, "
        "which no stage of the authors' network uses",
        f"wrote {out}",
    ]
    x = torch.rand(1, 3, 8, 9)
    assert torch.equal(load(out)(x), load(brn, stages=3)(x))
    assert load(out).hparams["stages"] == 3


def test_asks_for_what_the_file_does_not_tell(brn, tmp_path, capsys):
    out = tmp_path / "ours.safetensors"
    assert run(["convert", str(brn), str(out)]) == 1
    said = capsys.readouterr().err
    assert "no file tells its stages; say them: --stages N, which is 8 of the journal" in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.pth", "a.safetensors", "--stages", "3"], "none.pth is not a file"),
        (["net.pth", "a.pth", "--stages", "3"], "does not end in .safetensors"),
        (["net.pth", "there.safetensors", "--stages", "3"], "--overwrite replaces it"),
        (["net.pth", "a/b.safetensors", "--stages", "3"], "cannot be written"),
        (["net.pth", "a.safetensors", "--stages", "3", "--recursions", "2"], "'recursions'"),
        (["net.pth", "a.safetensors", "--stages", "0"], "stages=0"),
    ],
)
@pytest.mark.usefixtures("brn")
def test_mistakes_get_one_sentence(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.safetensors").write_bytes(b"mine")
    assert run(["convert", *arguments]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1
    assert (tmp_path / "there.safetensors").read_bytes() == b"mine"


def test_overwrites_when_told(brn, tmp_path):
    out = tmp_path / "there.safetensors"
    out.write_bytes(b"mine")
    assert run(["convert", str(brn), str(out), "--stages", "2", "--overwrite"]) == 0
    assert load(out).hparams["stages"] == 2
