"""Every layout is read back with the right pairs; every broken file is named."""

import re
from pathlib import Path

import numpy as np
import pytest

from raincleave.data.audit import audit
from raincleave.data.layouts import LAYOUTS, NoPairsError, find_pairs, scan
from raincleave.data.pairs import RainPairs, read_pair
from raincleave.errors import DataError

NAMES = {
    "Rain100": "Rain100H/Rain100L",
    "RainTrain": "RainTrainH/RainTrainL",
    "Rain200": "Rain200H/Rain200L",
    "Rain200 X2": "Rain200H/Rain200L",
    "Rain12": "Rain12",
    "Rain12 GT": "Rain12",
    "Rain800": "side by side",
    "Rain800 folders": "two folders",
    "Rain1400": "Rain1400",
    "Rain1200": "Rain1200",
    "SPA list": "SPA-Data",
    "SPA numbers": "SPA-Data",
    "Rain13K": "two folders",
    "own folders": "two folders",
}
SIDE_BY_SIDE = ("Rain800", "Rain1200")


def test_every_row_of_the_table_is_tried():
    assert {layout.name for layout in LAYOUTS} == set(NAMES.values())


@pytest.mark.parametrize("rainy_left", [False, True])
def test_read_back(case, tmp_path, build, rainy_left):
    expected = build(tmp_path, case, rainy_left)
    found = find_pairs(tmp_path)
    assert found.layout.name == NAMES[case]
    files = {(p.rainy.path, p.clean.path) for p in found.pairs}
    assert files == {(tmp_path / rainy, tmp_path / clean) for rainy, clean in expected}
    assert len({pair.name for pair in found.pairs}) == len(expected)
    for pair in found.pairs:
        images = read_pair(pair)
        brighter = images["rainy"].int() - images["clean"].int()
        assert images["rainy"].shape == (3, 40, 48)
        assert brighter.float().mean() > 3  # streaks of 60 on a tenth of the pixels


def test_scenes(tmp_path, build):
    build(tmp_path, "Rain1400")
    pairs = find_pairs(tmp_path).pairs
    assert [p.scene for p in pairs if p.name == "12_7"] == ["12"]
    assert len({p.scene for p in pairs}) == 2


def test_missing_partner(case, tmp_path, build):
    rainy, clean = build(tmp_path, case)[1]
    if rainy == clean:
        pytest.skip("one picture holds both")
    (tmp_path / rainy).unlink()
    if case == "Rain1400":
        with pytest.raises(DataError, match=r"12\.jpg has 13 rainy partners, not 14"):
            find_pairs(tmp_path)
        return
    lone, other = (rainy, "does not exist") if case == "SPA list" else (clean, "no rainy partner")
    with pytest.raises(DataError, match=f"{Path(lone).name}.*{other}"):
        find_pairs(tmp_path)


def test_missing_clean_partner(case, tmp_path, build):
    rainy, clean = build(tmp_path, case)[1]
    if rainy == clean:
        pytest.skip("one picture holds both")
    (tmp_path / clean).unlink()
    lone, other = (clean, "does not exist") if case == "SPA list" else (rainy, "no clean partner")
    if case == "Rain1400":
        lone = "12_1.jpg"
    with pytest.raises(DataError, match=f"{Path(lone).name}.*{other}"):
        find_pairs(tmp_path)


def test_size_mismatch(case, tmp_path, build, scene, write):
    rainy, clean = build(tmp_path, case)[1]
    if rainy == clean:
        pytest.skip("halves of one picture are of one size")
    write(tmp_path / rainy, scene(1, 32, 40))
    pairs = find_pairs(tmp_path).pairs
    with pytest.raises(DataError, match=f"{Path(rainy).name} is 32x40.* is 48x40"):
        RainPairs(pairs, patch_size=16)
    assert any(Path(rainy).name in problem for problem in audit(tmp_path).problems)


def test_truncated_file(case, tmp_path, build):
    rainy = tmp_path / build(tmp_path, case)[1][0]
    rainy.write_bytes(rainy.read_bytes()[:-200])
    (broken,) = [p for p in find_pairs(tmp_path).pairs if p.rainy.path == rainy]
    with pytest.raises(DataError, match=f"{rainy.name} cannot be read"):
        read_pair(broken)
    (problem,) = audit(tmp_path).problems
    assert rainy.name in problem


@pytest.mark.parametrize(
    ("case", "count", "edition"),
    [
        ("Rain100", 100, "2017 edition of 100 pairs"),
        ("Rain100", 99, "part of a dataset or one of your own"),
        ("RainTrain", 1800, "546 of which show scenes of the Rain100 test sets"),
        ("RainTrain", 1254, "strict"),
        ("Rain200", 200, "test set .* 2019 edition"),
        ("Rain200", 1800, "training set .* 2019 edition"),
    ],
)
def test_edition(tmp_path, build, case, count, edition):
    build(tmp_path, case)
    found = find_pairs(tmp_path)
    counted = found._replace(pairs=[found.pairs[0]] * count)
    assert re.search(edition, counted.version)


def test_two_names_for_one_number(tmp_path, build, scene, write):
    build(tmp_path, "Rain12")
    write(tmp_path / "groundtruth/001_GT.png", scene(1))
    with pytest.raises(DataError, match=r"001_GT\.png and .*1\.png are the same pair's"):
        find_pairs(tmp_path)


def test_names_that_are_in_part_like_a_benchmark_s(tmp_path, scene, write):
    for folder in ("groundtruth", "rainy"):
        for name in ("1", "2", "house", "street"):
            write(tmp_path / folder / f"{name}.png", scene(len(name)))
    found = find_pairs(tmp_path)
    assert found.layout.name == "two folders"
    assert {pair.name for pair in found.pairs} == {"1", "2", "house", "street"}


def test_of_several_lists_none_is_guessed(tmp_path, build):
    build(tmp_path, "SPA list")
    (listed,) = tmp_path.glob("*.txt")
    (tmp_path / "train.txt").write_text(listed.read_text())
    with pytest.raises(DataError, match=rf"several lists of pairs, {listed.name}, train\.txt"):
        find_pairs(tmp_path)


def test_what_has_too_many_partners_is_left_out(tmp_path, build, scene, write):
    build(tmp_path, "own folders")
    before = scan(tmp_path)
    first = before.pairs[0]
    write(first.rainy.path.with_suffix(".jpg"), scene(1))
    found = scan(tmp_path)
    assert "has 2 rainy partners, not 1" in found.problems[0]
    assert [pair.name for pair in found.pairs] == [pair.name for pair in before.pairs[1:]]


def test_wrong_root(tmp_path, build, scene, write):
    build(tmp_path / "data/Rain100H", "Rain100")
    with pytest.raises(DataError, match=r"There is no folder .*nowhere"):
        find_pairs(tmp_path / "nowhere")
    with pytest.raises(NoPairsError, match=r"its folders Rain100H do; give one of them\."):
        find_pairs(tmp_path / "data")
    with pytest.raises(DataError, match=r"rain-001\.png has no clean partner"):
        find_pairs(tmp_path / "data/Rain100H/rainy")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoPairsError, match="holds no images"):
        find_pairs(tmp_path / "empty")


@pytest.mark.parametrize("case", ["SPA numbers", "Rain1200"])
def test_a_dataset_beside_others_does_not_stand_for_them(tmp_path, build, case):
    build(tmp_path / "one", case)
    build(tmp_path / "two", "Rain100")
    with pytest.raises(NoPairsError, match="its folders one, two do"):
        find_pairs(tmp_path)


def test_photos_are_not_taken_for_side_by_side(tmp_path, scene, write):
    for number in range(9):
        write(tmp_path / f"{number}.png", np.hstack([scene(number), scene(number + 100)]))
    with pytest.raises(NoPairsError, match="holds 9 images but no pairs"):
        find_pairs(tmp_path)


def test_stray_files_are_ignored(tmp_path, build):
    build(tmp_path, "Rain100")
    (tmp_path / "readme.txt").write_text("two words\n")
    (tmp_path / "rainy/.rain-009.png").write_bytes(b"")
    assert len(find_pairs(tmp_path).pairs) == 3


def test_a_list_may_have_blank_lines_and_point_beside_its_folder(tmp_path, build):
    build(tmp_path, "SPA list")
    lists = tmp_path / "lists"
    lists.mkdir()
    names = "../real_test/rain/a.png ../real_test/gt/agt.png"
    (lists / "some.txt").write_text(f"{names}\n  \n")
    (pair,) = find_pairs(lists).pairs
    assert pair.rainy.path.resolve() == tmp_path / "real_test/rain/a.png"
