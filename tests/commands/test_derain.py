"""The command from its arguments to the files it leaves, with a network that halves every value."""

import errno
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from rich.progress import Progress

from raincleave.cli import run
from raincleave.errors import CheckpointError, ConfigError
from raincleave.inference.images import to_tensor
from raincleave.models import DRN


class Halve(torch.nn.Module):
    """Stands in for a network; has two stages, and no memory for pictures 13 wide."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.5))

    def derain(self, image, *, stages=None):
        if stages is not None and stages > 2:
            raise ConfigError(f"this Halve has 2 stages, not {stages}.")
        tensor, restore = to_tensor(image)
        if tensor.shape[-1] == 13:
            raise RuntimeError("not enough memory\nand a stack of C++")
        return restore(tensor.detach() * self.weight.detach() ** (stages or 2))


@pytest.fixture(autouse=True)
def loaded(monkeypatch) -> list[str]:
    """The names that were loaded."""
    names: list[str] = []

    def load(name, device):
        if name == "unknown":
            raise CheckpointError("there is no model 'unknown'.")
        names.append(name)
        return Halve()

    hub = ModuleType("raincleave.hub")
    hub.load = load
    monkeypatch.setitem(sys.modules, "raincleave.hub", hub)
    return names


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def draw(path: str, level: int = 200, size: tuple[int, int] = (8, 6)) -> bytes:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path)
    return Path(path).read_bytes()


def level(path: str) -> int:
    with Image.open(path) as image:
        values = np.unique(np.asarray(image))
    assert len(values) == 1
    return int(values[0])


def files() -> set[str]:
    return {path.as_posix() for path in Path().rglob("*") if path.is_file()}


def test_one_picture(here, capsys, loaded):
    original = draw("examples/rainy.png")
    assert run(["derain", "examples/rainy.png"]) == 0
    assert level("examples/rainy.derained.png") == 50
    assert Path("examples/rainy.png").read_bytes() == original
    assert files() == {"examples/rainy.png", "examples/rainy.derained.png"}
    assert loaded == ["drn-7x7"]
    out, err = capsys.readouterr()
    assert out == f"wrote {Path('examples/rainy.derained.png')}\n"
    assert err == ""


def test_model_stages_and_file_output(here, loaded):
    draw("a.png")
    assert run(["derain", "a.png", "-o", "b.tif", "--model", "brn-6", "--stages", "1"]) == 0
    assert loaded == ["brn-6"]
    assert level("b.tif") == 100
    with Image.open("b.tif") as image:
        assert image.format == "TIFF"


def test_a_huge_picture_is_asked_for(here, capsys, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600_000)
    draw("a.png", size=(1300, 1000))
    assert run(["derain", "a.png"]) == 1
    assert "a.png has more pixels" in (said := capsys.readouterr().err)
    assert "--max-megapixels" in said
    assert run(["derain", "a.png", "--max-megapixels", "1.4"]) == 0
    assert run(["derain", "a.png", "--max-megapixels", "1.2", "--overwrite"]) == 1
    assert Image.MAX_IMAGE_PIXELS == 600_000


def test_every_suffix_that_is_written_names_a_file(here):
    draw("in/a.jfif")
    for target in ("b.tga", "b.jfif", "b.jp2"):
        assert run(["derain", "in", "-o", target]) == 0
        assert Path(target).is_file()
    assert run(["derain", "in/a.jfif", "-o", "folder.v1"]) == 0
    assert Path("folder.v1/a.jfif").is_file()


def test_folder_below_a_folder(here, capsys):
    for name in ("in/a.png", "in/deep/er/a.jpg", "in/B.JPG", "in/old.derained.png", "in/.x/a.png"):
        draw(name)
    Path("in/notes.txt").write_text("none")
    before = files()
    assert run(["derain", "in", "-o", "out"]) == 0
    assert files() - before == {"out/a.png", "out/deep/er/a.jpg", "out/B.JPG"}
    assert level("out/deep/er/a.jpg") == 50
    assert capsys.readouterr().out == "wrote 3 of 3 pictures to out\n"


def test_folder_without_output_and_again(here, capsys, loaded):
    draw("in/a.png")
    draw("in/deep/b.png")
    assert run(["derain", "in"]) == 0
    after = {"in/a.png", "in/a.derained.png", "in/deep/b.png", "in/deep/b.derained.png"}
    assert files() == after
    Path("in/a.derained.png").write_bytes(b"mine")
    capsys.readouterr()
    assert run(["derain", "in"]) == 0
    assert files() == after
    assert Path("in/a.derained.png").read_bytes() == b"mine"
    err = capsys.readouterr().err
    assert f"{Path('in/a.derained.png')} is there already, whatever model and" in err
    assert len(loaded) == 1  # nothing to do, so nothing is loaded
    assert run(["derain", "in", "--overwrite"]) == 0
    assert level("in/a.derained.png") == 50


def test_output_folder_inside_the_input_folder(here):
    draw("in/a.png")
    for _ in range(2):
        assert run(["derain", "in", "-o", "in/dry"]) == 0
        assert files() == {"in/a.png", "in/dry/a.png"}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("in/*.png", {"out/a.png", "out/b.png"}),
        ("in/**", {"out/a.png", "out/b.png", "out/deep/a.png"}),
        ("i*/deep/a.png", {"out/in/deep/a.png"}),
        ("in/[a]*", {"out/a.png"}),
    ],
)
def test_globs_keep_the_tree_below_their_fixed_part(here, pattern, expected):
    for name in ("in/a.png", "in/b.png", "in/deep/a.png", "in/a.derained.png"):
        draw(name)
    before = files()
    assert run(["derain", pattern, "-o", "out"]) == 0
    assert files() - before == expected


def test_a_name_with_brackets_is_no_glob(here):
    draw("a[1].png")
    assert run(["derain", "a[1].png"]) == 0
    assert level("a[1].derained.png") == 50


def test_several_inputs_and_results_among_them(here):
    for name in ("a.png", "b.png", "a.derained.png"):
        draw(name)
    # What a shell makes of *.png.
    assert run(["derain", "a.derained.png", "a.png", "b.png", "b.png", "--overwrite"]) == 0
    assert files() == {"a.png", "b.png", "a.derained.png", "b.derained.png"}
    assert run(["derain", "a.derained.png"]) == 0
    assert level("a.derained.derained.png") == 12


def test_failures_are_told_and_the_others_go_on(here, capsys):
    draw("in/a.png")
    draw("in/large.png", size=(13, 6))
    draw("in/z.png")
    Path("in/empty.png").touch()
    Path("in/half.png").write_bytes(Path("in/a.png").read_bytes()[:45])
    before = files()
    assert run(["derain", "in", "nowhere", "*.gif"]) == 1
    assert files() - before == {"in/a.derained.png", "in/z.derained.png"}
    out, err = capsys.readouterr()
    assert out == "wrote 2 of 5 pictures\n"
    lines = err.splitlines()
    assert lines[:2] == ["nowhere does not exist.", "*.gif matches no picture to derain."]
    assert lines[2].startswith(f"{Path('in/empty.png')} is empty")
    assert lines[3].startswith(f"{Path('in/half.png')} cannot be read")
    assert lines[4:] == [f"{Path('in/large.png')}: not enough memory"]


def test_a_result_that_cannot_be_written(here, capsys):
    Image.new("RGBA", (8, 6)).save("a.png")
    assert run(["derain", "a.png", "-o", "a.jpg"]) == 1
    assert files() == {"a.png"}
    sentence = "a.jpg cannot be written: cannot write mode RGBA as JPEG; another suffix, such as"
    assert capsys.readouterr().err.startswith(sentence)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["empty"], "empty holds no picture to derain."),
        (["missing.png"], "missing.png does not exist."),
        (["x" * 300 + ".png"], "x.png does not exist."),
        (["films"], "films holds no picture to derain; name its videos one by one."),
        (["films/clip.mp4", "-o", "dry.png"], "clip.mp4 is a video, which dry.png cannot hold"),
        (["-"], "- names no file, and pictures come out of files; save what comes"),
        (["a.png", "-o", "-"], "-o - names no file, and results go into files"),
        (["*.tif"], "*.tif matches no picture to derain."),
        (["films/*.mp4"], "films/*.mp4 matches no picture to derain; name its videos one by one."),
        (["a.png", "b/a.png", "-o", "out"], "would both be written to out/a.png"),
        (["a.png", "b/a.png", "-o", "out.png"], "-o out.png is one file, but 2 pictures"),
        (["a.png", "-o", "a.png"], "a.png is an original; choose another output"),
        (["b", "-o", "b"], "b/a.png is an original"),
        (["a.png", "--stages", "3"], "this Halve has 2 stages, not 3."),
        (["a.png", "--model", "unknown"], "there is no model 'unknown'."),
        (["a.png", "--device", "abacus"], "--device abacus cannot be used here: "),
    ],
)
def test_refused_in_one_sentence_before_anything_is_written(here, capsys, arguments, sentence):
    draw("a.png")
    draw("b/a.png")
    Path("empty").mkdir()
    Path("films").mkdir()
    Path("films/clip.mp4").touch()
    before = {name: Path(name).read_bytes() for name in files()}
    assert run(["derain", *arguments]) == 1
    assert {name: Path(name).read_bytes() for name in files()} == before
    out, err = capsys.readouterr()
    assert sentence in err.replace("\\", "/")
    assert err.count("\n") == 1
    assert "wrote 1" not in out


def test_originals_are_replaced_only_when_asked(here):
    draw("in/a.png")
    assert run(["derain", "in", "-o", "in", "--overwrite"]) == 0
    assert files() == {"in/a.png"}
    assert level("in/a.png") == 50


def test_no_input_is_a_usage_error(capsys):
    assert run(["derain"]) == 2
    assert "the following arguments are required" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--ouput", "x"], "unrecognized arguments: --ouput x; did you mean --output?"),
        (["--qqq"], "unrecognized arguments: --qqq; `raincleave derain --help` lists the options."),
        (["--ensemble=8"], "--ensemble cannot be 8; choose from 1, 2, 4."),
        (["--tile=big"], "--tile cannot be big; `raincleave derain --help` lists the options."),
        (["--halo", "-"], "--halo cannot be -; `raincleave derain --help` lists the options."),
        (["--stages="], "--stages cannot be empty; `raincleave derain --help` lists the options."),
    ],
)
def test_a_wrong_option_gets_one_sentence(capsys, words, sentence):
    assert run(["derain", "a.png", *words]) == 2
    assert capsys.readouterr().err == f"raincleave: {sentence}\n"


def test_a_job_s_log_tells_now_and_then_how_far_it_is(here, capsys, monkeypatch):
    seconds = iter(range(0, 1000, 5))
    monkeypatch.setattr("raincleave.seldom.monotonic", lambda: next(seconds))
    for k in range(5):
        draw(f"in/{k}.png")
    assert run(["derain", "in", "-o", "out"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "2 of 5 pictures, 0:00:15 left",
        "4 of 5 pictures, 0:00:05 left",
    ]


def test_a_file_named_twice_is_one_picture(here, capsys):
    draw("a.png")
    assert run(["derain", "a.png", str(Path("a.png").absolute())]) == 0
    assert capsys.readouterr().out == f"wrote {Path('a.derained.png')}\n"


def test_links_to_one_picture_are_two(here):
    draw("store/a.png")
    Path("in").mkdir()
    for name in ("x.png", "y.png"):
        (Path("in") / name).symlink_to(Path("store/a.png").absolute())
    assert run(["derain", "in", "-o", "out"]) == 0
    assert {path.name for path in Path("out").iterdir()} == {"x.png", "y.png"}


def test_videos_among_pictures_are_told(here, capsys):
    draw("in/a.png")
    for name in ("in/B.MOV", "in/c/d.mp4", "in/e.derained.mp4", "in/.f.mp4"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    assert run(["derain", "in", "-o", "out"]) == 0
    assert capsys.readouterr().err == "in: 2 videos are left out; name each itself.\n"
    assert run(["derain", "in/*", "-o", "out", "--overwrite"]) == 0
    assert capsys.readouterr().err == "in/*: 1 video is left out; name each itself.\n"


def test_a_folder_that_may_not_be_looked_into_is_told(here, capsys, monkeypatch):
    draw("in/a.png")
    Path("in/closed").mkdir()
    Path("in/listed").mkdir()
    own_scan, own_access = os.scandir, os.access

    def scan(place):
        if Path(place).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return own_scan(place)

    monkeypatch.setattr(os, "scandir", scan)
    monkeypatch.setattr(
        os, "access", lambda path, mode: Path(path).name != "listed" and own_access(path, mode)
    )
    assert run(["derain", "in", "-o", "out"]) == 1
    assert set(capsys.readouterr().err.splitlines()) == {
        f"{Path('in/closed')} cannot be looked into: Permission denied.",
        f"{Path('in/listed')} cannot be looked into: Permission denied.",
    }
    assert Path("out/a.png").is_file()


def test_a_folder_of_results_that_cannot_be_made_is_told(here, capsys):
    draw("a.png")
    draw("b.png")
    Path("file").touch()
    assert run(["derain", "a.png", "b.png", "-o", "file/in"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told == [
        f"{Path('file/in/a.png')} cannot be written: Not a directory.",
        f"{Path('file/in/b.png')} cannot be written: Not a directory.",
    ]


def test_linked_folders_are_searched_once_and_never_in_a_circle(here):
    draw("in/a.png")
    draw("in/real/b.png")
    draw("elsewhere/c.png")
    for link, folder in {
        "in/more": "../elsewhere",
        "in/again": "../elsewhere",
        "in/circle": ".",
        "in/up": "..",
        "in/early": "real",
        "elsewhere/back": "../in",
    }.items():
        Path(link).symlink_to(folder, target_is_directory=True)
    assert run(["derain", "in", "-o", "out"]) == 0
    made = {str(file.relative_to("out")) for file in Path("out").rglob("*.png")}
    assert made == {"a.png", "real/b.png", "again/c.png"}


def test_what_of_a_file_is_left_out_is_told(here, capsys):
    frames = [Image.new("RGB", (8, 6), (50 * k,) * 3) for k in range(3)]
    for name in ("a.gif", "b.tif", "c.tif"):
        frames[0].save(name, save_all=True, append_images=frames[1:])
    draw("phone.jpg")
    Image.new("RGB", (8, 6)).save("gain.jpg", format="MPO", save_all=True, append_images=frames[:1])
    assert Image.open("gain.jpg").n_frames == 2
    assert run(["derain", ".", "-o", "out"]) == 0
    said = "a.gif and 2 more: Of its frames, only the first is derained.\n"
    assert capsys.readouterr().err == said


def test_many_results_that_are_there_are_told_in_one_line(here, capsys):
    for k in range(5):
        draw(f"in/{k}.png")
    assert run(["derain", "in", "-o", "out"]) == 0
    assert capsys.readouterr().out == "wrote 5 of 5 pictures to out\n"
    assert run(["derain", "in", "-o", "out", "--stages=1"]) == 0
    err = capsys.readouterr().err
    assert err.startswith("5 results are there already, whatever model and options made them;")
    assert err.count("\n") == 1


def test_the_bar_moves_with_every_stage(here, monkeypatch):
    seen = []

    class Seen(Progress):
        def update(self, task_id, **changes):
            seen.append(changes["completed"])
            super().update(task_id, **changes)

    torch.manual_seed(0)
    network = DRN(stages=2, recursions=1, res_blocks=1, channels=4).eval()
    monkeypatch.setattr(sys.modules["raincleave.hub"], "load", lambda name, device: network)
    monkeypatch.setattr("rich.progress.Progress", Seen)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    draw("one.png")
    draw("two.png")
    Path("three.png").write_text("no picture")
    assert run(["derain", "one.png", "three.png", "two.png"]) == 1
    assert seen == [0.5, 1, 1, 2, 2.5, 3, 3]


def test_the_bar_leaves_a_network_alone_that_another_runtime_is_to_compute(here, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    network = DRN(stages=2, recursions=1, res_blocks=1, channels=4).eval()
    monkeypatch.setattr(sys.modules["raincleave.hub"], "load", lambda name, device: network)
    told = []
    monkeypatch.setattr("rich.progress.Progress.update", lambda bar, task, **new: told.append(new))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    for name, size in (("one.png", (24, 16)), ("two.png", (40, 31))):
        draw(name, size=size)
    assert run(["derain", "one.png", "two.png", "--backend", "onnxruntime"]) == 0
    for name in ("one", "two"):
        expected = np.asarray(network.derain(f"{name}.png")).astype(int)
        with Image.open(f"{name}.derained.png") as derained:
            assert np.abs(np.asarray(derained) - expected).max() <= 1
    assert told == [{"completed": 1}, {"completed": 2}]
