import pytest


def table(lines):
    return {row[0]: [float(cell.rstrip("%")) for cell in row[1:]] for row in map(str.split, lines)}


def test_deraining_gives_edges_back(example, wet_pairs):
    head, *rows = example("detection", wet_pairs, "--images", 2)
    assert head.split() == ["2", "pairs", "PSNR", "edges", "matches", "right"]
    rows = table(rows)
    assert rows["clean"][:2] == [float("inf"), 1]
    assert rows["rainy"][1] < rows["derained"][1] < 1
    # The clean picture is matched with itself, turned.
    assert rows["clean"][2] > rows["rainy"][2] > 0
    assert rows["clean"][3] > 80


@pytest.mark.slow
def test_as_it_stands(example):
    rows = table(example("detection")[-3:])
    assert all(rows["rainy"][k] < rows["derained"][k] < rows["clean"][k] for k in (0, 1, 2))
