"""Every family for every runtime that is installed, at sizes it was not traced at."""

import errno
import pickle
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path

import pytest
import torch

from raincleave import export as exporting
from raincleave.cli import run
from raincleave.errors import ConfigError
from raincleave.export import SUFFIXES, export
from raincleave.inference import precision
from raincleave.models import BRN, DRN, SRN, ResGuideNet, RRANet

FAMILIES = {
    "drn": lambda: DRN(stages=2, recursions=1, channels=4),
    "srn-gru": lambda: SRN(stages=2, res_blocks=1, cell="gru"),
    "brn": lambda: BRN(stages=1),
    "resguidenet": lambda: ResGuideNet(blocks=2, recursions=1, channels=4),
    "rranet": lambda: RRANet(stages=1, width=4),
}
slow = pytest.mark.slow
NEEDS = {"onnx": "onnxscript", "openvino": "openvino", "torch-export": "torch"}


def opened(path, to):
    pytest.importorskip("onnxruntime" if to == "onnx" else NEEDS[to])
    return exporting._open(path, to)


# The quick ones, and a slow rest.
COMBINATIONS = [
    pytest.param(family, to, marks=() if "drn" in family or to == "torch-export" else slow)
    for family in FAMILIES
    for to in SUFFIXES
]


@pytest.mark.parametrize(("family", "to"), COMBINATIONS)
def test_every_family_in_every_format(tmp_path, family, to):
    pytest.importorskip(NEEDS[to])
    torch.manual_seed(0)
    model = FAMILIES[family]()
    path = tmp_path / f"network{SUFFIXES[to]}"
    assert export(model, to, str(path)) < 1e-5
    assert model.training
    files = {"network.xml", "network.bin"} if to == "openvino" else {path.name}
    assert {file.name for file in tmp_path.iterdir()} == files
    rainy = torch.rand(3, 3, 48, 32)
    with torch.inference_mode():
        torch.testing.assert_close(opened(path, to)(rainy), model(rainy), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("family", ["drn", pytest.param("rranet", marks=slow)])
def test_backends_derain_any_size(name, family):
    pytest.importorskip(name)
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    model = FAMILIES[family]()
    for size in ((1, 1), (33, 50)):
        rainy = torch.rand(1, 3, *size)
        ours = model.derain(rainy, backend=name, tile=24, halo="exact")
        torch.testing.assert_close(ours, model.derain(rainy), atol=1e-5, rtol=1e-5)


def test_a_backend_follows_the_weights_and_the_stages():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, rainy = FAMILIES["drn"](), torch.rand(1, 3, 16, 16)
    model.derain(rainy, backend="onnxruntime")
    kept = dict(model.__dict__["_made_forwards"])
    model.derain(rainy, backend="onnxruntime")
    assert model.__dict__["_made_forwards"] == kept
    model.f_out.bias.data.add_(0.1)  # as a moving average takes its place: no version is raised
    for stages in (None, 1):
        ours = model.derain(rainy, backend="onnxruntime", stages=stages)
        torch.testing.assert_close(ours, model.derain(rainy, stages=stages), atol=1e-5, rtol=1e-5)


def test_a_backend_is_cut_into_tiles_as_the_network_itself_is():
    """Nobody can count what another runtime takes."""
    model = FAMILIES["drn"]().eval()
    with torch.inference_mode():
        own = model._pixel_bytes((2, None, "torch", False), lambda x: model(x, 2))
        other = model._pixel_bytes((2, None, "onnxruntime", False), lambda x: x)
    assert own == other > 3 * 4


def test_a_backend_is_made_once_while_it_fits(monkeypatch):
    made = []
    monkeypatch.setattr(
        exporting, "backend", lambda *given: made.append(given[1:]) or (lambda x: x)
    )
    model, rainy = FAMILIES["drn"](), torch.rand(1, 3, 16, 16)
    for name in ("onnxruntime", "openvino", "onnxruntime"):
        assert torch.equal(model.derain(rainy, backend=name), rainy)
    assert made == [("onnxruntime", None), ("openvino", None)]


def test_threads_that_want_a_backend_first_get_one_export(monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    models, rainy = [FAMILIES["drn"](), FAMILIES["drn"]()], torch.rand(1, 3, 16, 24)
    wanted = [model.derain(rainy) for model in models]
    exported, own = [], exporting._export
    monkeypatch.setattr(exporting, "_export", lambda *given: exported.append(0) or own(*given))
    before = torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        derained = pool.map(lambda k: models[k % 2].derain(rainy, backend="onnxruntime"), range(4))
        for k, ours in enumerate(derained):
            torch.testing.assert_close(ours, wanted[k % 2], atol=1e-5, rtol=1e-5)
    assert len(exported) == 2
    assert torch.equal(torch.get_rng_state(), before)


def test_half_precision_stays_while_another_thread_exports(monkeypatch):
    model, rainy = FAMILIES["drn"](), torch.rand(1, 6, 16, 24)
    monkeypatch.setattr(torch.compiler, "_is_compiling_flag", True)  # of the whole process
    assert torch.compiler.is_compiling(), "or this test says nothing"
    with torch.inference_mode(), precision.computing_in(torch.bfloat16):
        assert precision.in_full(torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.float32
        assert model.f_in(rainy).dtype == torch.bfloat16


@pytest.mark.parametrize("way", [{"compile": True}, {"backend": "onnxruntime"}])
def test_copies_have_weights_of_their_own(way, monkeypatch):
    monkeypatch.setattr(exporting, "backend", lambda model, *_: lambda x: model(x))  # noqa: PLW0108
    monkeypatch.setattr(torch, "compile", lambda made, dynamic: lambda x: made(x))  # noqa: PLW0108
    model, rainy = FAMILIES["drn"](), torch.rand(1, 3, 16, 16)
    model.derain(rainy, **way)
    other = pickle.loads(pickle.dumps(model)) if "backend" in way else deepcopy(model)
    with torch.no_grad():
        other.f_out.bias.add_(0.1)
    torch.testing.assert_close(other.derain(rainy, **way), other.derain(rainy))
    assert not torch.equal(other.derain(rainy, **way), model.derain(rainy, **way))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_of_another_type_is_exported_in_float32(tmp_path, dtype):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    with torch.inference_mode():
        model = FAMILIES["drn"]().to(dtype)
    assert export(model, "torch-export", tmp_path / "net.pt2") < 1e-5
    rainy = torch.rand(1, 3, 24, 24)
    expected = deepcopy(model).float().derain(rainy.to(dtype).float())
    ours = model.derain(rainy, backend="onnxruntime")
    assert model.dtype == dtype
    torch.testing.assert_close(ours, expected, atol=2**-8, rtol=0)


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"net\.pt2 cannot be written: .*xist|Not a directory"):
        export(FAMILIES["drn"](), "torch-export", tmp_path / "file" / "net.pt2")


def test_stages_stop_early(tmp_path):
    model, rainy = FAMILIES["drn"](), torch.rand(1, 3, 24, 24)
    export(model, "torch-export", tmp_path / "one.pt2", stages=1)
    ours = torch.export.load(tmp_path / "one.pt2").module()(rainy)
    torch.testing.assert_close(ours, model(rainy, 1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("to", ["openvino", "torch-export"])
def test_a_full_disk_is_told_in_one_sentence(tmp_path, monkeypatch, to):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    def without_room(*_, **__):
        raise RuntimeError("basic_ios::clear: iostream error")

    if to == "openvino":
        monkeypatch.setattr(pytest.importorskip("openvino"), "save_model", without_room)
    else:
        monkeypatch.setattr(Path, "write_bytes", full)
    told = "(no room for it on the disk|No space left on device)"
    with pytest.raises(ConfigError, match=rf"network\.\w+ cannot be written: .*{told}"):
        export(FAMILIES["drn"](), to, tmp_path / f"network{SUFFIXES[to]}")
    assert not list(tmp_path.iterdir())


def test_what_is_off_is_not_kept(tmp_path, monkeypatch):
    true = exporting._open
    monkeypatch.setattr(exporting, "_open", lambda *a: lambda rainy: true(*a)(rainy) + 0.001)
    with pytest.raises(ConfigError, match=r"off by 0\.001, more than 0\.0001; nothing was written"):
        export(FAMILIES["drn"](), "torch-export", tmp_path / "network.pt2")
    assert not list(tmp_path.iterdir())


def test_missing_packages_and_names_are_told(tmp_path, monkeypatch):
    def absent(name):
        raise ImportError(name)

    model = FAMILIES["drn"]()
    with pytest.raises(ConfigError, match="there is no backend 'tpu'; choose torch"):
        model.derain(torch.rand(3, 8, 8), backend="tpu")
    with pytest.raises(ConfigError, match="precision 'fast' is for the torch backend"):
        model.derain(torch.rand(3, 8, 8), backend="openvino", precision="fast")
    monkeypatch.setattr(exporting, "import_module", absent)
    with pytest.raises(ConfigError, match=r"openvino is not installed; pip install 'raincleave\["):
        model.derain(torch.rand(3, 8, 8), backend="openvino")
    with pytest.raises(ConfigError, match=r"raincleave\[onnx\]' brings it"):
        export(model, "onnx", tmp_path / "network.onnx")
    with pytest.raises(ConfigError, match="there is no format 'tflite'"):
        export(model, "tflite", tmp_path / "network.tflite")


def test_onnx_names_its_free_dimensions(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    export(FAMILIES["drn"](), "onnx", tmp_path / "network.onnx")
    (given,) = onnx.load(tmp_path / "network.onnx").graph.input
    dims = given.type.tensor_type.shape.dim
    assert given.name == "rainy"
    assert [d.dim_param or d.dim_value for d in dims] == ["batch", 3, "height", "width"]


@pytest.mark.parametrize(
    ("model", "file"),
    [
        ("drn-7x7.heavy", "drn-7x7.heavy.onnx"),
        ("runs/mine.safetensors", "mine.onnx"),
        ("runs/theirs.pt", "theirs.onnx"),
        ("hf://owner/network@v1.0", "network.onnx"),
    ],
)
def test_a_file_is_made_here_by_the_models_plain_name(monkeypatch, capsys, model, file):
    monkeypatch.setattr("raincleave.commands.export.load", lambda name: FAMILIES["drn"]())
    written = []
    monkeypatch.setattr(
        "raincleave.commands.export.export_model", lambda *given: written.append(given[2]) or 0
    )
    assert run(["export", model, "--to", "onnx"]) == 0
    assert [str(path) for path in written] == [file]


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    FAMILIES["drn"]().save(tmp_path / "mine.safetensors")
    assert run(["export", "mine.safetensors", "--to", "torch-export"]) == 0
    assert capsys.readouterr().out.startswith("wrote mine.pt2 (within ")
    assert run(["export", "mine.safetensors", "--to", "torch-export", "--output", "a/b"]) == 0
    assert "a/b.pt2" in capsys.readouterr().out.replace("\\", "/")
    assert (tmp_path / "a" / "b.pt2").is_file()


def test_a_backend_holds_no_file_of_its_making():
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("the system does not tell what is mapped")
    pytest.importorskip("openvino")
    network = exporting.backend(DRN(stages=1, recursions=1, channels=4).eval(), "openvino")
    assert "network.bin" not in maps.read_text()
    network(torch.rand(1, 3, 16, 16))
