"""``raincleave evaluate`` on a dataset of four pairs and networks of a few weights."""

import csv
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from raincleave import load
from raincleave.benchmarks import find_dataset, find_folders
from raincleave.cli import run
from raincleave.errors import DataError
from raincleave.evaluation import ImageScores, Score, Scores, strict_float32
from raincleave.metrics import psnr, ssim
from raincleave.models import DRN

SIZES = [(48, 40), (40, 48), (33, 21), (48, 40)]


def read(path):
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None]


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path):
    """Rain100H's layout with four pairs of mixed sizes."""
    folder = tmp_path / "Rain100H"
    for number, (width, height) in enumerate(SIZES, start=1):
        rng = np.random.default_rng(number)
        clean = rng.integers(30, 150, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
        clean = np.ascontiguousarray(clean.repeat(4, 0).repeat(4, 1)[:height, :width])
        rain = 100 * (rng.random((1, width, 1)) < 0.4)
        write(folder / f"norain-{number:03d}.png", clean)
        write(folder / "rainy" / f"rain-{number:03d}.png", (clean + rain).astype(np.uint8))
    return folder


@pytest.fixture
def model(tmp_path):
    """A DRN of three stages whose output is far from its input."""
    torch.manual_seed(0)
    network = DRN(stages=3, recursions=1, res_blocks=1, channels=4).eval()
    path = tmp_path / "tiny.safetensors"
    network.save(path)
    return path


def scored(root, outputs, protocol="csdwren"):
    """Mean PSNR and SSIM of float images against the ground truth, one by one."""
    truths = [read(root / f"norain-{n:03d}.png") for n in range(1, 5)]
    pairs = list(zip(outputs, truths, strict=True))
    return [np.mean([f(x, y, protocol).item() for x, y in pairs]) for f in (psnr, ssim)]


def backgrounds(root, model, stage):
    from raincleave.hub import load

    network = load(model)
    rainy = [read(root / "rainy" / f"rain-{n:03d}.png").float() / 255 for n in range(1, 5)]
    with torch.inference_mode():
        return [list(network.unroll(image))[stage - 1].background for image in rainy]


def test_the_inputs_alone_are_scored_without_a_model(root, capsys):
    assert run(["evaluate", "--root", str(root)]) == 0
    out = capsys.readouterr().out
    rainy = [read(root / "rainy" / f"rain-{n:03d}.png") for n in range(1, 5)]
    decibels, similarity = scored(root, rainy)
    assert "Rain100H (part of a dataset or one of your own" in out
    assert "4 pairs · protocol csdwren · float32" in out
    assert f"{decibels:.2f} │ {similarity:.3f}" in out


def test_every_stage_is_scored_and_written(root, model, tmp_path, capsys):
    target = tmp_path / "report.json"
    args = [str(model), "--root", str(root), "--stages", "all"]
    files = ["--json", str(target), "--csv", str(tmp_path / "images.csv")]
    assert run(["evaluate", *args, *files]) == 0
    out = capsys.readouterr().out
    report = json.loads(target.read_text())
    (result,) = report["results"]
    assert (report["protocol"], report["precision"], result["pairs"]) == ("csdwren", "32", 4)
    assert result["parameters"] == sum(p.numel() for p in DRN(3, 1, 1, 4).parameters())
    assert [stage["stage"] for stage in result["stages"]] == [1, 2, 3]
    for stage in result["stages"]:
        expected = scored(root, backgrounds(root, model, stage["stage"]))
        # 1e-3: channels_last sums in another order, and flooring turns 1e-7 into a whole level.
        assert [stage["psnr"], stage["ssim"]] == pytest.approx(expected, abs=1e-3)
        assert f"tiny        │   {stage['psnr']:.2f} │ {stage['ssim']:.3f}" in out
    rows = list(csv.DictReader((tmp_path / "images.csv").open()))
    assert len(rows) == 4 * 4
    assert {(row["image"], row["stage"]) for row in rows} == {
        (f"rain-00{n}", str(t)) for n in range(1, 5) for t in range(4)
    }
    last = [float(row["psnr"]) for row in rows if row["stage"] == "3"]
    assert np.mean(last) == pytest.approx(result["stages"][-1]["psnr"], abs=1e-5)


def test_stopping_early_and_beyond_the_trained_stages(root, model, tmp_path):
    for stages in (2, 5):
        target = tmp_path / "report.json"
        args = [str(model), "--root", str(root), "--stages", str(stages), "--json", str(target)]
        assert run(["evaluate", *args]) == 0
        (result,) = json.loads(target.read_text())["results"]
        assert [stage["stage"] for stage in result["stages"]] == [stages]
        if stages == 2:
            expected = scored(root, backgrounds(root, model, 2))[0]
            assert result["stages"][0]["psnr"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("protocol", ["csdwren", "mprnet"])
def test_saved_images_score_what_was_reported(root, model, tmp_path, protocol):
    options = ["--protocol", protocol, "--json", str(tmp_path / "a.json")]
    saved = tmp_path / "saved"
    assert run(["evaluate", str(model), "--root", str(root), "--save", str(saved), *options]) == 0
    options = ["--protocol", protocol, "--json", str(tmp_path / "b.json")]
    assert run(["evaluate", "--images", str(saved), str(root), *options]) == 0
    network, finished = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    expected = {k: network["results"][0]["stages"][0][k] for k in ("psnr", "ssim")}
    assert finished["results"][0]["input"] == expected


def test_several_models_get_rows_folders_and_charts_of_their_own(root, model, tmp_path, capsys):
    other = tmp_path / "other" / "tiny.safetensors"
    other.parent.mkdir()
    DRN(stages=1, recursions=1, res_blocks=1, channels=4).save(other)
    figures, saved = tmp_path / "figures", tmp_path / "saved"
    args = [str(model), str(other), "--root", str(root), "--every", "2"]
    assert run(["evaluate", *args, "--figures", str(figures), "--save", str(saved)]) == 0
    assert "2 pairs (1 in 2)" in capsys.readouterr().out
    assert len(list(saved.glob("*/rain-003.png"))) == 2
    names = sorted(path.name for path in figures.iterdir())
    assert [n for n in names if n.count(".") == 1] == ["parameters.png", "stages.png", "time.png"]
    strips = [path for path in figures.iterdir() if ".best." in path.name]
    assert len(strips) == 2
    sheet = np.asarray(Image.open(strips[0]).convert("RGB"))
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 100


def test_explain_shows_what_each_step_changes(root, capsys):
    assert run(["evaluate", "--root", str(root), "--protocol", "rgb", "--explain"]) == 0
    out = capsys.readouterr().out
    rainy = [read(root / "rainy" / f"rain-{n:03d}.png") for n in range(1, 5)]
    figures = {p: scored(root, rainy, p)[0] for p in ("csdwren", "mprnet", "rgb")}
    assert f"csdwren                         │ {figures['csdwren']:.4f}" in out
    assert f"+ SSIM not downsampled = mprnet │ {figures['mprnet']:.4f}" in out
    step = f"{figures['rgb'] - figures['mprnet']:+.4f}"
    (line,) = [line for line in out.splitlines() if "= rgb" in line]
    assert f"{figures['rgb']:.4f}" in line
    assert step in line


def test_pooled_psnr_weighs_pixels_not_images():
    images = [
        ImageScores("a", 10, 10, Score(20.0, 0.5), {}, None),
        ImageScores("b", 30, 10, Score(40.0, 0.5), {}, None),
    ]
    assert Scores(images).input.psnr == pytest.approx(30)
    assert Scores(images).pooled_psnr(None) == pytest.approx(-10 * math.log10(0.25e-2 + 0.75e-4))


def test_fast_is_labelled_and_the_ensemble_is_derains(root, model, tmp_path, capsys):
    assert run(["evaluate", str(model), "--root", str(root), "--precision", "fast"]) == 0
    assert "fast, NOT COMPARABLE" in capsys.readouterr().out
    figures = tmp_path / "figures.json"
    words = [str(model), "--root", str(root), "--ensemble", "4", "--json", str(figures)]
    assert run(["evaluate", *words]) == 0
    assert "mean of 4 views" in capsys.readouterr().out
    found = json.loads(figures.read_text())
    assert found["ensemble"] == 4
    (stage,) = found["results"][0]["stages"]
    assert stage["stage"] == 3
    network, scores = load(model), []
    for k in range(1, 5):
        rainy, clean = (
            read(root / name) for name in (f"rainy/rain-{k:03}.png", f"norain-{k:03}.png")
        )
        derained = network.derain(rainy / 255, ensemble=4)
        scores.append(psnr(derained, clean).item())
    assert stage["psnr"] == pytest.approx(sum(scores) / 4, abs=1e-3)
    assert run(["evaluate", *words, "--stages", "all"]) == 1
    assert "--ensemble 4 has one result" in capsys.readouterr().err


def test_float32_is_strict_inside_and_as_before_outside():
    torch.set_float32_matmul_precision("medium")
    try:
        with strict_float32():
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def damage(root, kind):
    path = root / "rainy" / "rain-002.png"
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:100])
    elif kind == "no image":
        path.write_text("rain")
    elif kind == "sizes":
        write(path, np.zeros((20, 30, 3), np.uint8))
    elif kind == "tiny":
        for small in (path, root / "norain-002.png"):
            write(small, np.zeros((10, 30, 3), np.uint8))
    elif kind == "no partner":
        path.unlink()


@pytest.mark.parametrize(
    ("kind", "file", "reason"),
    [
        ("truncated", "rain-002.png", "cannot be read"),
        ("no image", "rain-002.png", "is not an image"),
        ("sizes", "rain-002.png", "30x20"),
        ("tiny", "rain-002.png", "at least 11×11 pixels; these are 30×10"),
        ("no partner", "norain-002.png", "no rainy partner"),
    ],
)
def test_a_bad_pair_is_named_and_the_rest_still_scored(root, capsys, kind, file, reason):
    damage(root, kind)
    assert run(["evaluate", "--root", str(root)]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("raincleave: ")
    assert file in error
    assert reason in error
    assert run(["evaluate", "--root", str(root), "--keep-going"]) == 1
    captured = capsys.readouterr()
    assert "3 pairs" in captured.out
    assert captured.err.count("left out:") == 1
    assert file in captured.err


def test_a_picture_too_large_for_the_memory_is_named(root, model, capsys, monkeypatch):
    def full(self, rainy):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(DRN, "unroll", full)
    for ensemble in ([], ["--ensemble", "2"]):
        assert run(["evaluate", str(model), "--root", str(root), *ensemble]) == 1
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert "rain-001.png does not fit into the memory of cpu" in error


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ([], "give --root with a dataset, or --images"),
        (["--root", "ROOT/none"], "no folder"),
        (["--root", "ROOT/empty"], "holds no images"),
        (
            ["--root", "ROOT", "--data", "Rain1400"],
            "is not Rain1400: it was recognised as",
        ),
        (["--root", "ROOT", "--every", "0"], "--every must be 1 or more"),
        (["--root", "ROOT", "--save", "x"], "need a model"),
        (["--root", "ROOT", "--json", "ROOT/none/x.json"], "there is no folder"),
        (["--root", "ROOT", "--csv", "ROOT/empty"], "that is a folder"),
        (["MODEL", "--root", "ROOT", "--save", "MODEL"], "that is a file"),
        (["--root", "ROOT", "--stages", "many"], "a number from 1 up"),
        (["MODEL", "--root", "ROOT", "--save", "ROOT/rainy"], "would overwrite"),
        (["MODEL", "--root", "ROOT", "--device", "warp"], "--device warp cannot be used"),
        (["MODEL", "--images", "ROOT", "ROOT"], "leave the models out"),
        (["--images", "ROOT/rainy", "ROOT/empty"], "holds no images"),
    ],
)
def test_mistakes_get_one_sentence(root, model, capsys, args, sentence):
    (root / "empty").mkdir()
    words = [a.replace("ROOT", str(root)).replace("MODEL", str(model)) for a in args]
    assert run(["evaluate", *words]) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error


def test_a_dataset_is_found_by_name_below_its_root(root, capsys):
    assert run(["evaluate", "--root", str(root.parent), "--data", "Rain100H"]) == 0
    assert "4 pairs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rainy", "clean", "folder", "said"),
    [
        ("rain/X2/norain-{}x2.png", "norain/norain-{}.png", "Rain100H", "recognised as Rain200H"),
        ("rainy/rain-{:03}.png", "norain-{:03}.png", "Rain200H", "recognised as Rain100H"),
        ("input/{}.png", "target/{}.png", "Rain100L", "is not Rain100L but Rain100H, by its rain"),
        ("input/{}.png", "target/{}.png", "Rain200L", "is not Rain200L but Rain200H, by its rain"),
        ("input/{}.png", "target/{}.png", "Rain12", None),
        ("input/{}.png", "target/{}.png", "Rain100H", None),
        ("rainy/rain-{:03}.png", "norain-{:03}.png", "Street", None),
    ],
)
def test_the_folder_s_name_does_not_make_a_benchmark(tmp_path, rainy, clean, folder, said):
    root = tmp_path / folder
    for k in (1, 2):
        write(root / clean.format(k), np.full((12, 12, 3), 30 * k, np.uint8))
        write(root / rainy.format(k), np.full((12, 12, 3), 30 * k + 60, np.uint8))
    if said:
        with pytest.raises(DataError, match=said):
            find_dataset(root, folder)
    else:
        assert len(find_dataset(root, folder).pairs) == 2


def test_results_are_written_though_nobody_reads_the_table(root, tmp_path, capsys, monkeypatch):
    def closed(*_):
        raise BrokenPipeError

    monkeypatch.setattr("raincleave.commands.evaluate._print", closed)
    files = {"--json": tmp_path / "a.json", "--csv": tmp_path / "a.csv"}
    options = [str(word) for pair in files.items() for word in pair]
    with pytest.raises(BrokenPipeError):
        run(["evaluate", "--root", str(root), *options])
    assert all(file.is_file() for file in files.values())
    for option in ("--save", "--figures"):
        folder = files["--csv"] / "sub"
        assert run(["evaluate", "drn-7x7", "--root", str(root), option, str(folder)]) == 1
        assert f"{option} {folder}: no folder can be made there (" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("finished", "clean", "partner"),
    [
        ("drn-77x77_{:03}.png", "{:03}.png", lambda k: k),
        ("{}_2x.png", "norain-{:03}.png", lambda k: k),
        ("{}_9.png", "{:03}.png", lambda k: k),
        ("Rain100H_{}.png", "Rain100H-clean-{}.png", lambda k: k),
    ],
)
def test_finished_images_are_paired_by_the_number_that_tells(tmp_path, finished, clean, partner):
    black = np.zeros((12, 12, 3), np.uint8)
    for k in range(1, 15):
        write(tmp_path / "finished" / finished.format(k), black)
        write(tmp_path / "clean" / clean.format(k), black)
    found = find_folders(tmp_path / "finished", tmp_path / "clean")
    assert found.problems == []
    expected = {finished.format(k): clean.format(partner(k)) for k in range(1, 15)}
    paired = {pair.rainy.path.name: pair.clean.path.name for pair in found.pairs}
    assert paired == expected


def test_where_two_numbers_pair_all_none_is_guessed(tmp_path):
    black = np.zeros((12, 12, 3), np.uint8)
    for k in range(1, 15):
        write(tmp_path / "finished" / f"12_{k}.png", black)
        write(tmp_path / "clean" / f"{k}.png", black)
    with pytest.raises(DataError, match=r"12_1\.png may belong to 12\.png, .*, or to 1\.png"):
        find_folders(tmp_path / "finished", tmp_path / "clean")
    write(tmp_path / "one" / "drn7_005.png", black)
    with pytest.raises(DataError, match=r"drn7_005\.png may belong to 7\.png or to 5\.png; name"):
        find_folders(tmp_path / "one", tmp_path / "clean")
    write(tmp_path / "another" / "drn77_005.png", black)
    (pair,) = find_folders(tmp_path / "another", tmp_path / "clean").pairs
    assert pair.clean.path.name == "5.png"


def test_finished_images_need_one_partner_each(root, tmp_path, capsys):
    finished = tmp_path / "finished"
    write(finished / "rain-009.png", np.zeros((40, 48, 3), np.uint8))
    assert run(["evaluate", "--images", str(finished), str(root)]) == 1
    assert "rain-009.png needs one partner of the same name or number" in capsys.readouterr().err


def test_a_network_with_too_few_stages_stops_the_run(root, tmp_path, capsys):
    from raincleave.models import ResGuideNet

    path = tmp_path / "short.safetensors"
    ResGuideNet(blocks=2, recursions=1, channels=4).save(path)
    args = [str(path), "--root", str(root), "--stages", "9", "--keep-going"]
    assert run(["evaluate", *args]) == 1
    assert "stage 9 was asked for, but ResGuideNet here has 3" in capsys.readouterr().err
