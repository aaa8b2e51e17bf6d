import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raincleave import load
from raincleave.app import work
from raincleave.app.work import Job, check_size, derain_file, explain, facts
from raincleave.errors import ImageError
from raincleave.inference import tiling
from raincleave.inference.files import save


@pytest.fixture(scope="module")
def three(weights):
    return load(weights / "three.safetensors")


@pytest.fixture
def derained(three, pictures, tmp_path):
    def run(name, model=three, total=3, stages=None):
        source = Path(shutil.copy(pictures / name, tmp_path))
        return derain_file(model, total, Job(source, stages, "32"), tmp_path)

    return run


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


@pytest.mark.parametrize("name", ["one.png", "deep.png", "clear.png", "moving.gif"])
def test_the_file_is_what_derain_gives(derained, three, pictures, tmp_path, name):
    result = derained(name)
    expected = tmp_path / f"expected{result.file.suffix}"
    save(three.derain(pictures / name), expected)
    assert result.file.name == f"{result.source.stem}.derained{result.source.suffix}"
    assert result.file.read_bytes() == expected.read_bytes()


def test_depth_and_metadata_stay(derained):
    with Image.open(derained("deep.png").file) as image:
        assert image.mode == "I;16"
        assert image.getexif()[0x010E] == "a wet street"
        assert len(np.unique(np.asarray(image) & 255)) > 100


def test_views(derained, three, pictures):
    result = derained("one.png")
    assert [view.caption for view in result.views[:3]] == ["1", "2", "3"]
    assert [view.title for view in result.views[:3]] == [
        "after stage 1 of 3",
        "after stage 2 of 3",
        "derained",
    ]
    assert result.derained == 2
    second = np.asarray(three.derain(pictures / "one.png", stages=2)).astype(int)
    # JPEG of noise is the hardest there is, yet the right stage is by far the nearest.
    errors = [np.abs(pixels(view.preview) - second).mean() for view in result.views[:3]]
    assert np.argmin(errors) == 1
    assert result.note == ""


def test_the_rain_is_input_minus_output_made_visible(derained):
    result = derained("one.png")
    assert result.views[-1].title.startswith("the rain, input − output, ")
    times = float(result.views[-1].caption.removeprefix("rain ×"))
    rain = (pixels(result.source) - pixels(result.file)).clip(0)
    assert np.abs((rain * times).clip(0, 255) - pixels(result.views[-1].preview)).mean() < 12


def test_a_network_that_estimates_rain_shows_its_own(derained, weights):
    result = derained("one.png", load(weights / "two.safetensors"), 2)
    assert result.views[-1].title.startswith("the rain, as the network estimates it, ")


def test_stopping_early(derained, three, pictures):
    result = derained("one.png", stages=2)
    assert [view.title for view in result.views[:2]] == ["after stage 1 of 3", "derained"]
    assert result.facts.endswith("stopped after 2 of 3 stages")
    expected = np.asarray(three.derain(pictures / "one.png", stages=2))
    assert np.array_equal(pixels(result.file), expected)


def test_previews_keep_alpha_and_their_limit(derained, monkeypatch):
    monkeypatch.setattr(work, "PREVIEW", 24)
    result = derained("clear.png")
    with Image.open(result.before) as before, Image.open(result.views[0].preview) as stage:
        assert before.mode == stage.mode == "RGBA"
        assert before.size == stage.size == (24, 20)
    with Image.open(result.file) as image:
        assert image.size == (48, 40)


def test_in_pieces_the_stages_are_of_a_reduced_copy_and_it_says_so(derained, monkeypatch):
    whole = derained("wide.png")
    assert whole.note == ""
    shutil.rmtree(whole.before.parent)
    monkeypatch.setattr(tiling, "usable_bytes", lambda device: 4_000_000)
    monkeypatch.setattr(work, "REDUCED", 100)
    result = derained("wide.png")
    assert "went through the network in pieces" in result.note
    assert len(result.views) == 4
    assert {Image.open(view.preview).size for view in result.views} == {(600, 200)}


def test_of_a_moving_picture_the_first_frame(derained):
    assert derained("moving.gif").note == "Of its frames, only the first is derained."


@pytest.mark.parametrize(
    ("run", "total", "said"),
    [
        (7, 7, "480 × 320 pixels, 0.9 s, all 7 stages"),
        (4, 7, "480 × 320 pixels, 0.9 s, stopped after 4 of 7 stages"),
        (1, 1, "480 × 320 pixels, 0.9 s"),
    ],
)
def test_facts(run, total, said):
    assert facts(480, 320, 0.94, run, total) == said


def test_a_picture_beyond_the_limit(pictures):
    check_size(pictures / "wide.png", 0.12)
    check_size(pictures / "notes.png", 0.12)
    with pytest.raises(ImageError, match=r"wide\.png has 0\.1 megapixels \(600 × 200\), but this"):
        check_size(pictures / "wide.png", 0.1)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("notes.png", "notes.png is not an image that Pillow can read."),
        ("cut.png", "cut.png cannot be read, it is truncated or damaged: "),
    ],
)
def test_errors_name_the_file_alone(derained, tmp_path, name, said):
    with pytest.raises(ImageError) as caught:
        derained(name)
    assert explain(caught.value, tmp_path / name, tmp_path).startswith(said)


def test_errors_that_nobody_foresaw(tmp_path):
    source = tmp_path / "a.png"
    assert explain(KeyError("x"), source, tmp_path) == "a.png could not be derained: 'x'."
    assert "does not fit into this computer's memory" in explain(MemoryError(), source, tmp_path)
    told = ImageError("the image does not fit into memory.")  # as derain tells it
    told.__cause__ = MemoryError()
    assert "does not fit into this computer's memory" in explain(told, source, tmp_path)
