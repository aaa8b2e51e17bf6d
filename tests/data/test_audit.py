"""The audit finds every planted overlap, broken file and duplicate, and nothing else."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from raincleave.data.audit import audit, overlaps
from raincleave.errors import DataError


def _resaved(pixels, quality):
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def test_planted_overlap_is_found_whole(tmp_path, scene, rainy, write):
    """200 training scenes; the test set shows 40 of them, cropped, re-saved or both, and 20 new."""
    for number in range(200):
        write(tmp_path / f"train/norain-{number}.png", scene(number, 96, 72))
        write(tmp_path / f"train/rain-{number}.png", rainy(scene(number, 96, 72)))
    disguises = (
        lambda x: x[1:, 1:],
        lambda x: x[:-1, 1:],
        lambda x: _resaved(x, 50),
        lambda x: _resaved(x[1:, :-1], 75),
        lambda x: x,
    )
    planted = {f"rain-{number * 5}": f"rain-{number:03}" for number in range(40)}
    for number in range(60):
        shown = scene(number * 5 if number < 40 else 1000 + number, 96, 72)
        shown = disguises[number % len(disguises)](shown)
        write(tmp_path / f"test/norain-{number:03}.png", shown)
        write(tmp_path / f"test/rainy/rain-{number:03}.png", rainy(shown, 5))
    train, test = audit(tmp_path / "train"), audit(tmp_path / "test")
    assert dict(overlaps(train, test)) == planted
    assert len(overlaps(train, test)) == 40
    assert train.scenes == 200
    assert test.scenes == 60


def test_report(tmp_path, build):
    build(tmp_path, "Rain100")
    seen = []
    report = audit(tmp_path, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert report.sizes == {"48x40": 3}
    assert report.scenes == 3
    assert report.dataset == "Rain100L"
    assert report.mean_rain == pytest.approx(60 / 11, rel=0.1)
    assert report.problems == report.duplicates == []


def test_heavy_or_light(tmp_path, scene, write):
    for number in range(2):
        write(tmp_path / f"norain-{number}.png", scene(number))
        write(tmp_path / f"rain-{number}.png", scene(number) + 45)
    assert audit(tmp_path).dataset == "RainTrainH"


def test_duplicates_are_same_rainy_images(tmp_path, scene, rainy, write):
    for number, shown in enumerate((7, 8, 7, 7)):
        write(tmp_path / f"norain-{number}.png", scene(shown))
        write(tmp_path / f"rain-{number}.png", rainy(scene(shown), seed=number // 3))
    report = audit(tmp_path)
    assert report.duplicates == [["rain-0", "rain-2"]]
    assert report.scenes == 2


def test_problems_are_named_and_the_rest_is_read(tmp_path, build, scene, write):
    build(tmp_path, "RainTrain")
    write(tmp_path / "rain-77.png", scene(1))
    write(tmp_path / "rain-2.png", scene(1, 20, 20))
    (tmp_path / "norain-10.png").write_bytes(b"no image")
    report = audit(tmp_path)
    assert report.names == ["rain-1"]
    problems = "\n".join(report.problems)
    assert len(report.problems) == 3
    assert "rain-77.png has no clean partner" in problems
    assert "rain-2.png is 20x20 pixels" in problems
    assert "norain-10.png is not an image" in problems


def test_the_cropped_copy_is_told(tmp_path, scene, rainy, write):
    write(tmp_path / "norain-001.png", scene(1, 480, 320))
    write(tmp_path / "rainy/rain-001.png", rainy(scene(1, 480, 320)))
    assert audit(tmp_path).version.endswith("in the copy cropped from 481x321 to 480x320")
    for folder in ("input", "target"):
        write(tmp_path / "own" / folder / "street.png", scene(1, 480, 320))
    assert audit(tmp_path / "own").version == "paired folders of your own"


def test_photos(tmp_path, scene, write):
    write(tmp_path / "one.png", scene(1))
    write(tmp_path / "two.png", scene(2))
    report = audit(tmp_path)
    assert not report.paired
    assert report.mean_rain is None
    assert report.as_dict()["photos"] == 2


def test_nothing_to_read(tmp_path):
    (tmp_path / "one.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"holds no readable image; .*one\.png is not an image"):
        audit(tmp_path)
