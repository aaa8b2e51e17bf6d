import hashlib
import json
import runpy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from raincleave import DRN, load
from raincleave.cards import model_card
from raincleave.errors import CheckpointError, ConfigError

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "package_checkpoint.py"))
CARD = {
    "training": {
        "data": "rendered rain", "licence": "CC0", "recipe": "drn-7x7", "command": "raincleave fit",
        "steps": 2, "hours": 0.1, "machine": "2 cores", "seed": 0, "commit": "abc",
    },
    "figures": [
        {
            "dataset": "Rain100H", "protocol": "csdwren", "images": 100, "input_psnr": 13.55,
            "input_ssim": 0.379, "psnr": 25, "ssim": 0.8,
        }
    ],
}  # fmt: skip


@pytest.fixture
def root(tmp_path):
    (tmp_path / "checkpoints.json").write_text('{"z": {"file": "z.safetensors"}}')
    return tmp_path


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    DRN(stages=2, recursions=1, channels=4).save(tmp_path / "trained.safetensors")
    return tmp_path / "trained.safetensors"


def test_half_precision_stays_half_in_the_package_and_float32_in_use(weights, root):
    load(weights, dtype=torch.float16).save(root / "half.safetensors")
    entry = SCRIPT["package"](root / "half.safetensors", "drn-half", CARD, root)
    packaged = root / "src" / "raincleave" / "weights" / "drn-half.safetensors"
    assert {value.dtype for value in load_file(packaged).values()} == {torch.float16}
    assert entry["size"] < weights.stat().st_size * 0.7
    rainy = torch.rand(1, 3, 16, 16)
    half, whole = load(packaged), load(weights)
    assert half.f_in.weight.dtype == torch.float32
    torch.testing.assert_close(half.derain(rainy), whole.derain(rainy), atol=1e-3, rtol=0)


def test_the_entry_says_what_was_packaged(weights, root):
    SCRIPT["package"](weights, "drn-small", CARD | {"note": "Small."}, root)
    entries = json.loads((root / "checkpoints.json").read_text())
    assert list(entries) == ["drn-small", "z"]
    data = (root / "src" / "raincleave" / "weights" / "drn-small.safetensors").read_bytes()
    assert entries["drn-small"] == {
        "architecture": "DRN",
        "arguments": {"stages": 2, "recursions": 1, "res_blocks": 2, "channels": 4},
        "file": "drn-small.safetensors",
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
        "parameters": 923,
        "source": "trained by raincleave",
        "licence": "Apache-2.0",
        **CARD,
        "note": "Small.",
    }
    entry = entries["drn-small"]
    configuration = {key: entry[key] for key in ("architecture", "arguments")}
    assert "## Note\n\nSmall." in str(model_card(configuration, 923, entry))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"figures": []}, "has no figures"),
        ({"figures": [{"psnr": 20.0}]}, "figures of the card must have dataset, protocol"),
        ({"training": {**CARD["training"], "steps": "many"}}, "steps='many'"),
        ({"note": ["a", "b"]}, "note is no text"),
        ({"colour": "red"}, "'colour', which no entry has"),
    ],
)
def test_an_incomplete_card_changes_nothing(weights, root, change, message):
    before = (root / "checkpoints.json").read_text()
    with pytest.raises(ConfigError, match=message):
        SCRIPT["package"](weights, "drn-small", {**CARD, **change}, root)
    assert (root / "checkpoints.json").read_text() == before
    assert not (root / "src").exists()


def test_other_files_are_refused(root):
    (root / "a.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="not a readable"):
        SCRIPT["package"](root / "a.safetensors", "a", CARD, root)


EVALUATION = {
    "dataset": "Rain100H (the 2017 edition)",
    "every": 1,
    "protocol": "csdwren",
    "precision": "32",
    "failures": [],
    "ensemble": 1,
    "results": [
        {
            "sha256": "abc",
            "pairs": 100,
            "input": {"psnr": 13.550937, "ssim": 0.378575},
            "stages": [
                {"stage": 1, "psnr": 20.5, "ssim": 0.7},
                {"stage": 2, "psnr": 22.123456, "ssim": 0.75},
            ],
        }
    ],
}


def test_figures_are_taken_from_what_evaluate_wrote():
    assert SCRIPT["figures"](EVALUATION, "abc") == {
        "dataset": "Rain100H",
        "protocol": "csdwren",
        "images": 100,
        "input_psnr": 13.5509,
        "input_ssim": 0.3786,
        "psnr": 22.1235,
        "ssim": 0.75,
        "stages": [
            {"stage": 1, "psnr": 20.5, "ssim": 0.7},
            {"stage": 2, "psnr": 22.1235, "ssim": 0.75},
        ],
    }


def test_figures_of_other_weights_or_of_a_part_are_refused():
    with pytest.raises(ConfigError, match="not of the weights with the hash def"):
        SCRIPT["figures"](EVALUATION, "def")
    for change in ({"every": 5}, {"precision": "bf16"}, {"failures": ["a.png"]}):
        with pytest.raises(ConfigError, match="all pairs of a dataset, in float32"):
            SCRIPT["figures"](EVALUATION | change, "abc")
    with pytest.raises(ConfigError, match="without --ensemble"):
        SCRIPT["figures"](EVALUATION | {"ensemble": 4}, "abc")


def test_figures_of_an_early_stage_are_refused(weights, root):
    early = CARD["figures"][0] | {"stages": [{"stage": 1, "psnr": 25, "ssim": 0.8}]}
    with pytest.raises(ConfigError, match="the last stage, 2"):
        SCRIPT["package"](weights, "drn-small", CARD | {"figures": [early]}, root)
    assert json.loads((root / "checkpoints.json").read_text()).keys() == {"z"}
