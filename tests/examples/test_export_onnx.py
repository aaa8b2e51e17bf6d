import re

import pytest

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


def check(lines):
    told = re.search(r"([\d.]+)% of the values differ, the worst by (\d+)/", lines[-1])
    assert float(told[1]) < 1
    assert int(told[2]) <= 1


def test_a_small_network(example, tiny, tmp_path):
    lines = example("export_onnx", tiny)
    check(lines)
    size = (tmp_path / "derainer.onnx").stat().st_size
    assert lines[0].startswith(f"wrote derainer.onnx, {size / 1000:.0f} kB")


@pytest.mark.slow
def test_as_it_stands(example):
    check(example("export_onnx"))
