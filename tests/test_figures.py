"""Charts stay readable with many networks."""

from itertools import pairwise

import numpy as np
import pytest

from raincleave.figures import apart, chart


@pytest.mark.parametrize(
    "heights",
    [[], [7.0], [5.0, 5.0, 5.0], [0.0, 1.0, 30.0, 99.0, 100.0], [80.0, 80.0, 80.0, 80.0, 130.0]],
)
def test_names_are_put_apart(heights):
    placed = apart(heights, 10, 0, 100)
    assert len(placed) == len(heights)
    assert all(b - a >= 10 - 1e-9 for a, b in pairwise(placed))
    assert all(0 <= place <= 100 for place in placed)


def test_names_that_have_room_stay():
    assert apart([10.0, 40.0, 70.0], 10, 0, 100) == [10, 40, 70]


def test_more_names_than_room_stand_evenly():
    assert apart([50.0] * 21, 10, 0, 100) == pytest.approx([5.0 * i for i in range(21)])


def test_names_of_lines_stand_outside_the_frame_and_inside_the_picture():
    lines = {f"a name of some length, {n}": [(1, 2), (2, 3)] for n in range(12)}
    picture = np.asarray(chart(lines, "stage", "PSNR"))
    assert (picture[:, -2:] == 255).all()
    beside = (picture[:, 900:] < 255).any(axis=(1, 2))
    rows = np.flatnonzero(np.diff(beside.astype(int)) == 1)
    assert len(rows) == 12  # twelve lines of text with white between


def test_names_of_dots_do_not_cover_one_another():
    one = chart({"network": [(10, 2)]}, "parameters", "PSNR", log_x=True)
    many = chart({f"network {n}": [(10, 2)] for n in range(6)}, "parameters", "PSNR", log_x=True)
    inked = [(np.asarray(drawn)[25:489, 90:800] < 200).any(axis=(1, 2)) for drawn in (one, many)]
    assert inked[1].sum() > 5 * inked[0].sum()
