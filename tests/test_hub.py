"""`load` and its counterparts: names, files, folders, checkpoints, and what they refuse."""

import json
import re
import subprocess
import sys

import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader

import raincleave.hub
from raincleave import BRN, DRN, SRN, Derainer, ResGuideNet, RRANet, Stage, list_models, load
from raincleave.errors import CheckpointError, ConfigError, RaincleaveError
from raincleave.hub import build, checkpoints

SMALL = {
    "drn": lambda: DRN(stages=2, recursions=1, channels=4),
    "srn": lambda: SRN(stages=2, cell="gru", mapping="direct", res_blocks=1),
    "brn": lambda: BRN(stages=2, coupling="r2x"),
    "resguidenet": lambda: ResGuideNet(blocks=2, recursions=1, channels=4),
    "rranet": lambda: RRANet(stages=2, width=2, window=3),
}
X = torch.rand(1, 3, 13, 17, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def drn():
    torch.manual_seed(0)
    return SMALL["drn"]().eval()


def fit_two_steps(model, folder):
    """Two steps of real training; returns the trained model's checkpoint."""
    pairs = [{"rainy": torch.rand(3, 16, 16), "clean": torch.rand(3, 16, 16), "name": "x"}] * 4
    trainer = Trainer(
        max_steps=2, default_root_dir=folder, accelerator="cpu", logger=False, barebones=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(model, DataLoader(pairs, batch_size=2))
    trainer.save_checkpoint(folder / "last.ckpt")
    return model.eval()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", SMALL)
def test_every_way_of_saving_comes_back_the_same(family, tmp_path):
    torch.manual_seed(0)
    model = fit_two_steps(SMALL[family](), tmp_path)
    model.save(tmp_path / "a.safetensors")
    model.save_pretrained(tmp_path / "folder")
    for ref in ("a.safetensors", "folder", "last.ckpt", "folder/model.safetensors"):
        found = load(tmp_path / ref)
        assert type(found) is type(model)
        assert found.hparams == model.hparams
        assert not found.training
        assert torch.equal(found(X), model(X))


FRESH = """
import sys, torch
from raincleave import load
x = torch.load(sys.argv[1])
torch.save([load(ref)(x) for ref in sys.argv[3:]], sys.argv[2])
"""


@pytest.mark.filterwarnings("ignore")
def test_a_new_process_gives_the_identical_output(tmp_path):
    torch.manual_seed(0)
    model = fit_two_steps(SMALL["srn"](), tmp_path)
    model.save_pretrained(tmp_path / "folder")
    torch.save(X, tmp_path / "x.pt")
    refs = [str(tmp_path / "folder"), str(tmp_path / "last.ckpt")]
    arguments = [str(tmp_path / "x.pt"), str(tmp_path / "out.pt"), *refs]
    subprocess.run([sys.executable, "-c", FRESH, *arguments], check=True, timeout=120)
    expected = model(X)
    for found in torch.load(tmp_path / "out.pt"):
        assert torch.equal(found, expected)


def test_the_cards_example_runs_in_its_folder(drn, tmp_path, monkeypatch):
    drn.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "model-index" not in card  # nothing was measured, nothing is claimed
    assert "license" not in card
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (48, 40), "grey").save("rainy.jpg")
    exec(re.search(r"```python\n(.*?)```", card, re.DOTALL)[1], {})
    assert Image.open("clean.png").size == (48, 40)


def test_the_header_says_everything(drn, tmp_path):
    drn.save(tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        header = file.metadata()
    assert header["format"] == "pt"
    assert header["architecture"] == "DRN"
    arguments = {"stages": 2, "recursions": 1, "res_blocks": 2, "channels": 4}
    assert json.loads(header["arguments"]) == arguments
    drn.save_pretrained(tmp_path / "folder")
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    assert config == {"architecture": "DRN", "arguments": arguments}
    assert not list(tmp_path.rglob("*.part*"))


def test_the_same_weights_make_the_same_file(drn, tmp_path):
    for number in range(8):  # safetensors writes the header's entries in no fixed order
        drn.save(tmp_path / f"{number}.safetensors")
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_notes_of_the_command_line_are_no_arguments(drn, tmp_path):
    drn.hparams["_class_path"] = "raincleave.models.DRN"
    drn.save(tmp_path / "a.safetensors")
    assert "_class_path" not in load(tmp_path / "a.safetensors").hparams


def test_other_weights_may_be_saved_in_place(drn, tmp_path):
    doubled = {key: 2 * value for key, value in drn.state_dict().items()}
    drn.save(tmp_path / "a.safetensors", doubled)
    assert torch.equal(load(tmp_path / "a.safetensors").f_in.weight, 2 * drn.f_in.weight)


def test_saving_is_whole_or_not_at_all(drn, tmp_path):
    with pytest.raises(CheckpointError, match="cannot be written"):
        drn.save(tmp_path / "none" / "a.safetensors")
    drn.hparams["stages"] = object()
    with pytest.raises(CheckpointError, match="cannot be saved"):
        drn.save(tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_stages_may_change_and_nothing_else(drn, tmp_path):
    drn.save(tmp_path / "a.safetensors")
    deeper = load(tmp_path / "a.safetensors", stages=3)
    assert len(list(deeper.unroll(X))) == 3
    assert load(tmp_path / "a.safetensors", recursions=1).hparams["recursions"] == 1
    with pytest.raises(CheckpointError, match="has recursions=1, not 5"):
        load(tmp_path / "a.safetensors", recursions=5)
    SMALL["resguidenet"]().save(tmp_path / "r.safetensors")
    with pytest.raises(CheckpointError, match="has no number of stages"):
        load(tmp_path / "r.safetensors", stages=2)


def test_device_and_dtype(drn, tmp_path):
    drn.save(tmp_path / "a.safetensors")
    model = load(tmp_path / "a.safetensors", dtype=torch.bfloat16, device="cpu")
    assert model.f_in.weight.dtype == torch.bfloat16
    with pytest.raises(ConfigError, match="device=nowhere"):
        load(tmp_path / "a.safetensors", device="nowhere")
    with pytest.raises(ConfigError, match=r"dtype=torch\.int8"):
        load(tmp_path / "a.safetensors", dtype=torch.int8)


def test_loading_leaves_the_seed_alone(drn, tmp_path):
    drn.save(tmp_path / "a.safetensors")
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    load(tmp_path / "a.safetensors")
    assert torch.equal(torch.rand(2), expected)


class Mean(Derainer):
    """A user's own architecture."""

    def __init__(self, seed: int = 0, gains: list[float] | None = None):
        super().__init__()
        self.save_hyperparameters()
        self.gain = torch.nn.Parameter(torch.ones(3, 1, 1))

    def unroll(self, rainy):
        yield Stage(self.gain * rainy)


def test_a_notebook_s_newest_class_is_meant(tmp_path):
    def cell(depth):
        class Plain(Derainer):
            def __init__(self) -> None:
                super().__init__()
                self.gain = torch.nn.Parameter(torch.ones(depth, 1, 1))

            def unroll(self, rainy):
                yield Stage(self.gain[:3] * rainy)

        return Plain

    older, newer = cell(3), cell(4)
    newer().save(tmp_path / "a.safetensors")
    assert type(load(tmp_path / "a.safetensors")) is newer
    assert type(build(older, {}, older().state_dict())) is older


class Tied(Derainer):
    """Another's: one module used twice, and a norm that counts its batches."""

    def __init__(self):
        super().__init__()
        conv = torch.nn.Conv2d(3, 3, 3, padding=1)
        self.steps = torch.nn.ModuleList([conv, torch.nn.BatchNorm2d(3), conv])

    def unroll(self, rainy):
        yield Stage(torch.nn.Sequential(*self.steps)(rainy))


def test_weights_used_twice_and_counts_are_saved_too(tmp_path):
    model, rainy = Tied(), torch.rand(2, 3, 16, 16)
    model.train()(rainy)
    model.save(tmp_path / "a.safetensors")
    found = load(tmp_path / "a.safetensors")
    assert found.steps[0] is found.steps[2]
    assert found.steps[1].num_batches_tracked == 1
    assert torch.equal(found.derain(rainy), model.derain(rainy))


def test_a_users_own_architecture(tmp_path):
    Mean(seed=123_456, gains=[0.5]).save(tmp_path / "a.safetensors")
    found = load(tmp_path / "a.safetensors")
    assert type(found) is Mean
    assert found.hparams == {"seed": 123_456, "gains": [0.5]}


def test_unknown_names_get_the_nearest(monkeypatch):
    monkeypatch.setattr(raincleave.hub, "checkpoints", lambda: {"drn-7x7": {}, "drn-5x5": {}})
    with pytest.raises(CheckpointError, match=r"no model 'drn-77'; the nearest are drn-7x7"):
        load("drn-77")
    for odd in ("", "x" * 5000, "nul\0", "../drn-7x7"):
        with pytest.raises(CheckpointError, match="there is no model"):
            load(odd)
    with pytest.raises(CheckpointError, match="is for hf:// repositories, not drn-7x7"):
        load("drn-7x7", revision="main")


def header_of(path, **changes):
    """The file again, with another header."""
    with safe_open(path, "pt") as file:
        header = {**file.metadata(), **changes}
    save_file(load_file(path), path, {k: v for k, v in header.items() if v is not None})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": None}, "does not say which network"),
        ({"architecture": "System"}, "unknown network 'System'"),
        ({"architecture": "BRN", "arguments": '{"stages": 2}'}, "does not fit BRN"),
        ({"arguments": "{"}, r"the header of .* is not readable"),
        ({"arguments": "[1]"}, r"the header of .* is not one of raincleave's"),
        ({"arguments": None}, r"the header of .* is not readable"),
        ({"arguments": '{"stages": 2, "recursions": 1}'}, r"\(f_in.bias is \(4,\), not \(16,\)\)"),
        ({"arguments": '{"colour": 1}'}, "argument 'colour', which DRN does not take"),
        ({"arguments": '{"self": 1}'}, "argument 'self', which DRN does not take"),
        ({"arguments": '{"stages": "2"}'}, "stages='2', which DRN does not take"),
        ({"arguments": '{"stages": true}'}, "stages=True"),
        ({"arguments": '{"stages": 0}'}, "stages=0"),
        ({"arguments": '{"stages": 1000000000}'}, "stages=1000000000"),
        ({"arguments": '{"channels": 1e9}'}, "channels=1000000000.0"),
        ({"arguments": '{"loss": ["ssim"]}'}, "loss="),
    ],
)
def test_a_header_that_does_not_fit_is_refused(drn, tmp_path, changes, message):
    drn.save(tmp_path / "a.safetensors")
    header_of(tmp_path / "a.safetensors", **changes)
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path / "a.safetensors")


def test_weights_that_do_not_fit_are_refused(drn):
    weights = dict(drn.state_dict())
    arguments = dict(drn.hparams)
    for change, message in (
        ({"f_out.bias": torch.full((3,), torch.inf)}, "no finite numbers"),
        ({"f_out.bias": torch.zeros(3, dtype=torch.int8)}, "no finite numbers"),
        ({"f_out.bias": 3}, r"f_out.bias is \(\), not \(3,\)"),
        ({"more": torch.zeros(3)}, r"\(with more\)"),
    ):
        with pytest.raises(CheckpointError, match=message):
            build("DRN", arguments, weights | change)
    del weights["f_out.bias"]
    with pytest.raises(CheckpointError, match=r"\(without f_out.bias\)"):
        build("DRN", arguments, weights)


def test_a_folder_and_its_config(drn, tmp_path):
    drn.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    told = json.loads(config.read_text())
    told["arguments"]["recursions"] = 2
    config.write_text(json.dumps(told))
    with pytest.raises(CheckpointError, match=r"config\.json of .* contradicts"):
        load(tmp_path)
    header_of(tmp_path / "model.safetensors", architecture=None, arguments=None)
    assert load(tmp_path).hparams["recursions"] == 2
    for text in ("{}", "[]", "{", '{"architecture": "DRN"}', "[" * 100_000):
        config.write_text(text)
        with pytest.raises(CheckpointError, match=r"config\.json of .* (readable|raincleave's)"):
            load(tmp_path)
    config.write_text('{"architecture": "DRN", "arguments": {"weights": "x"}}')
    with pytest.raises(CheckpointError, match="argument 'weights'"):
        load(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        load(tmp_path)


@pytest.fixture
def packaged(drn, tmp_path, monkeypatch):
    """A package with one checkpoint in it; gives its entry to be changed."""
    (tmp_path / "weights").mkdir()
    drn.save(tmp_path / "weights" / "small.safetensors")
    data = (tmp_path / "weights" / "small.safetensors").read_bytes()
    entry = {"file": "small.safetensors", "sha256": raincleave.hub.hashlib.sha256(data).hexdigest()}
    monkeypatch.setattr(raincleave.hub, "checkpoints", lambda: {"small": entry})
    monkeypatch.setattr(raincleave.hub.resources, "files", lambda _: tmp_path)
    return entry


def test_a_packaged_name(drn, packaged, tmp_path):
    assert list_models() == ["small"]
    model = load("small")
    assert torch.equal(model(X), drn(X))
    assert model.card == {"name": "small", **packaged}
    right = packaged["sha256"]
    packaged["sha256"] = "0" * 64
    with pytest.raises(CheckpointError, match=f"have the hash {right}, not {'0' * 64}"):
        load("small")
    for file in ("../small.safetensors", "/etc/passwd"):
        packaged["file"] = file
        with pytest.raises(CheckpointError, match="outside the package"):
            load("small")
    packaged["file"] = "none.safetensors"
    with pytest.raises(CheckpointError, match="weights of 'small' are missing; reinstall"):
        load("small")


@pytest.mark.parametrize("name", list_models())
def test_every_named_checkpoint_is_what_its_entry_says(name):
    entry = checkpoints()[name]
    model = load(name, local_files_only=True)
    assert model.configuration() == {key: entry[key] for key in ("architecture", "arguments")}
    assert sum(p.numel() for p in model.parameters()) == entry["parameters"]
    assert entry["licence"]
    assert entry["figures"]


def test_derain_is_load_and_derain(drn, tmp_path):
    drn.save(tmp_path / "a.safetensors")
    image = X[0].permute(1, 2, 0).numpy()
    found = raincleave.derain(image, str(tmp_path / "a.safetensors"), stages=1)
    assert (found == drn.derain(image, stages=1)).all()


def test_errors_are_the_users_kind():
    assert issubclass(CheckpointError, RaincleaveError)
    assert issubclass(CheckpointError, ValueError)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_defaults_of_the_program_do_not_round_the_weights(dtype):
    plain = load("drn-7x7").state_dict()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("meta"):
            model = load("drn-7x7")
    finally:
        torch.set_default_dtype(torch.float32)
    for name, weight in model.state_dict().items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, plain[name])
