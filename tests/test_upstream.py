"""The authors' released files: every stage as their code computes it, every variant recognised."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from raincleave import load
from raincleave.errors import CheckpointError
from raincleave.upstream import read_release

PARITY = Path(__file__).parents[2] / "shared" / "parity"
RELEASED = {
    "drn-7x7-rain100h": {"architecture": "DRN", "stages": 7, "recursions": 7, "res_blocks": 2},
    "srn-6-rain100h": {"architecture": "SRN", "mapping": "residual", "cell": "lstm"},
    "srn-lstm-6-rain100h": {"architecture": "SRN", "mapping": "direct", "cell": "lstm"},
    "srn-gru-6-rain100h": {"architecture": "SRN", "mapping": "direct", "cell": "gru"},
    "srn-x-6-rain100h": {"architecture": "SRN", "mapping": "direct", "sees_rainy": False},
    "brn-8-rain100h": {"architecture": "BRN", "coupling": "both", "stages": 8},
    "brn-4-rain100h": {"architecture": "BRN", "coupling": "both", "stages": 4},
    "brn-rx-4-rain100h": {"architecture": "BRN", "coupling": "r2x", "stages": 4},
    "brn-xr-4-rain100h": {"architecture": "BRN", "coupling": "x2r", "stages": 4},
    "crn-4-rain100h": {"architecture": "BRN", "coupling": "none", "stages": 4},
}


@pytest.mark.skipif(not PARITY.is_dir(), reason="the authors' files may not be redistributed")
@pytest.mark.parametrize("name", RELEASED)
def test_released_weights_give_the_authors_stages(name, tmp_path):
    """Loaded as they are, and once more through a file of ours."""
    golden = load_file(PARITY / f"{name}.golden.safetensors")
    backgrounds = sum(key.startswith("background.") for key in golden)
    model = load(PARITY / f"{name}.pth", stages=backgrounds)
    told = {"architecture": type(model).__name__, **model.hparams}
    assert {key: told[key] for key in RELEASED[name]} == RELEASED[name]
    model.save(tmp_path / "ours.safetensors")
    for network in (model, load(tmp_path / "ours.safetensors")):
        with torch.inference_mode():
            stages = list(network.unroll(golden["input"]))
        assert len(stages) == backgrounds
        for t, stage in enumerate(stages, 1):
            torch.testing.assert_close(
                stage.background, golden[f"background.{t}"], atol=1e-5, rtol=0
            )
            assert (stage.rain is None) == (f"rain.{t}" not in golden)
            if stage.rain is not None:
                torch.testing.assert_close(stage.rain, golden[f"rain.{t}"], atol=1e-5, rtol=0)


def convolutions(**shapes):
    """Random weights of 3×3 convolutions, named and shaped as the authors do: name=(out, in)."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, (outputs, inputs) in shapes.items():
        # A chain of random layers neither dies nor explodes.
        scale = 0.3 / inputs**0.5
        weights[f"{name}.weight"] = scale * torch.randn(outputs, inputs, 3, 3, generator=generator)
        weights[f"{name}.bias"] = 0.01 * torch.randn(outputs, generator=generator)
    return weights


def branch(suffix="", *, inputs=6, blocks=5, gates="ifog", seen=64):
    shapes = {f"conv0{suffix}.0": (32, inputs), f"conv{suffix}.0": (3, 32)}
    shapes |= {f"res_conv{k}{suffix}.{i}": (32, 32) for k in range(1, blocks + 1) for i in (0, 2)}
    return convolutions(**shapes | {f"conv_{g}{suffix}.0": (32, seen) for g in gates})


def drn(channels=16, blocks=2):
    shapes = {"conv0.0": (channels, 6), "conv.0": (3, channels)}
    shapes |= {
        f"res_conv{k}.{i}": (channels, channels) for k in range(1, blocks + 1) for i in (0, 2)
    }
    return convolutions(**shapes)


def brn(*, x_sees=96, r_sees=96, gates="ifog"):
    return branch(inputs=9, seen=x_sees, gates=gates) | branch("_r", seen=r_sees, gates=gates)


@pytest.fixture
def released(tmp_path):
    def save(weights, name="authors.pth", **kwargs):
        torch.save(weights, tmp_path / name, **kwargs)
        return tmp_path / name

    return save


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        (drn(), ("DRN", {"stages": 7, "recursions": 7, "res_blocks": 2, "channels": 16})),
        (branch(), ("SRN", {"stages": 6, "cell": "lstm", "sees_rainy": True, "res_blocks": 5})),
        (branch(gates="zbg"), ("SRN", {"cell": "gru", "res_blocks": 5})),
        (branch(inputs=3), ("SRN", {"sees_rainy": False, "mapping": "direct"})),
        (branch(blocks=18), ("SRN", {"res_blocks": 18})),
        (brn(), ("BRN", {"stages": 4, "coupling": "both", "cell": "lstm"})),
        (brn(r_sees=64), ("BRN", {"coupling": "r2x"})),
        (brn(x_sees=64), ("BRN", {"coupling": "x2r"})),
        (brn(x_sees=64, r_sees=64), ("BRN", {"coupling": "none"})),
        (brn(gates="zbg"), ("BRN", {"coupling": "both", "cell": "gru"})),
    ],
    ids=["drn", "srn", "gru", "srn-x", "srn+", "brn", "r2x", "x2r", "crn", "brn-gru"],
)
def test_every_variant_is_recognised(released, weights, told):
    model = load(released(weights), **({"stages": 4} if told[0] == "BRN" else {}))
    assert (type(model).__name__, {key: model.hparams[key] for key in told[1]}) == told
    assert not model.training


def test_gates_keep_their_order(released):
    weights = brn()
    model = load(released(weights), stages=8)
    gates = torch.cat([weights[f"conv_{gate}_r.0.weight"] for gate in "ifog"])
    assert torch.equal(model.f_r.f_recurrent.gates.weight, gates)
    weights = branch(gates="zbg")
    cell = load(released(weights)).f_recurrent
    assert torch.equal(cell.gates.bias, torch.cat([weights[f"conv_{g}.0.bias"] for g in "zb"]))
    assert torch.equal(cell.candidate.weight, weights["conv_g.0.weight"])


@pytest.mark.parametrize("legacy", [True, False])
def test_prefix_and_old_format_do_not_matter(released, legacy):
    weights = drn()
    parallel = {f"module.{key}": value for key, value in weights.items()}
    path = released(parallel, _use_new_zipfile_serialization=not legacy)
    assert torch.equal(load(path).f_in.weight, weights["conv0.0.weight"])


def test_unused_blocks_are_dropped_and_named(released):
    release = read_release(released(brn()))
    unused = {f"res_conv{k}_r.{i}.{p}" for k in (4, 5) for i in (0, 2) for p in ("weight", "bias")}
    assert set(release.dropped) == unused
    assert read_release(released(branch())).dropped == []


def test_mapping_is_measured_on_grey(released):
    weights = branch()
    weights["conv.0.weight"].mul_(0.01)
    weights["conv.0.bias"].fill_(0.0)
    assert load(released(weights)).hparams["mapping"] == "residual"
    weights["conv.0.bias"].fill_(0.5)
    assert load(released(weights)).hparams["mapping"] == "direct"
    assert load(released(weights), mapping="residual").hparams["mapping"] == "residual"


def test_what_the_file_does_not_tell_may_be_said(released):
    model = load(released(drn()), stages=5, recursions=4)
    assert (model.hparams["stages"], model.hparams["recursions"]) == (5, 4)
    # PRN has a DRN's keys, but neither its channels nor its recursions.
    prn = released(drn(channels=32, blocks=5))
    with pytest.raises(CheckpointError, match="does not tell stages and recursions"):
        load(prn)
    assert load(prn, stages=6, recursions=1).hparams["recursions"] == 1
    # The paper's 6 stages are those of no file that was released with it.
    with pytest.raises(CheckpointError, match=r"tell stages; .* 8 of the journal paper's"):
        load(released(brn()))


@pytest.mark.parametrize(
    ("weights", "arguments", "message"),
    [
        (drn(), {"res_blocks": 1}, "has res_blocks=2, not 1"),
        (branch(), {"cell": "gru"}, "has cell='lstm', not 'gru'"),
        (branch(), {"mapping": "both"}, "mapping='both'"),
        (branch(), {"colour": 1}, "argument 'colour', which SRN does not take"),
        (branch(), {"stages": 0}, "stages=0"),
        (branch(blocks=1), {}, "none of the networks"),
        (brn() | {"extra.weight": torch.ones(1)}, {}, "they have no extra.weight"),
        ({"extra.weight": torch.ones(1)}, {}, "lacks 'conv0.0.weight'"),
        (drn() | {"conv.0.bias": torch.full((3,), torch.nan)}, {}, "no finite numbers"),
        (drn() | {"conv.0.bias": torch.zeros(4)}, {}, r"f_out.bias is \(4,\), not \(3,\)"),
        ({"epoch": 3}, {}, "holds 'epoch', which is not a weight"),
        ([1, 2], {}, "holds a list"),
        (drn() | {"conv.0.bias": torch.zeros(3, dtype=torch.long)}, {}, "which is not a weight"),
        (branch() | {"conv_i.0.weight": torch.zeros(32, 65, 3, 3)}, {}, "weights' shapes differ"),
    ],
)
def test_disagreement_and_strange_files_are_errors(released, weights, arguments, message):
    with pytest.raises(CheckpointError, match=message):
        load(released(weights), **arguments)


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match="there is no file"):
        load(tmp_path / "none.pth")
    shutil.copy(__file__, tmp_path / "text.pth")
    with pytest.raises(CheckpointError, match=r"not a file that torch\.save wrote"):
        load(tmp_path / "text.pth")
