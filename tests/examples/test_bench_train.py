"""examples/bench_train.py: both of its networks compute the same, and the memory is told."""

import argparse
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "bench_train.py"


@pytest.fixture
def bench():
    spec = importlib.util.spec_from_file_location("bench_train", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def small():
    sizes = {"batch": 1, "patch": 32, "stages": 2, "recursions": 2, "rounds": 1}
    return argparse.Namespace(**sizes, compile=False, checkpoint_stages=False)


def test_the_benchmark_compares_like_with_like(bench, small, capsys):
    bench.timed(small)
    told = capsys.readouterr().out
    plain, ours = (float(loss) for loss in re.findall(r"first loss (\S+)", told))
    assert abs(plain - ours) < 0.01, "the same weights, but for bfloat16"
    assert re.search(r"ratio +\d", told)


def test_the_memory_of_a_step_is_told():
    # In a process of its own: this one's peak may lie above any that a small step reaches.
    words = [sys.executable, str(SCRIPT), "--peak", "--batch=2", "--patch=64"]
    words += ["--stages=4", "--recursions=2"]
    told = subprocess.run(words, capture_output=True, text=True, check=True)
    assert float(told.stdout) > 1, "MiB"
