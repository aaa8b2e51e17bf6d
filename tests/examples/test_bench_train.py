"""examples/bench_train.py: both of its networks compute the same, and the memory is told."""

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "examples" / "bench_train.py"


def test_the_benchmark_compares_like_with_like():
    words = ["--batch=1", "--patch=32", "--stages=2", "--recursions=2", "--rounds=1"]
    done = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, check=True)
    told = done.stdout.decode()
    plain, ours = (float(loss) for loss in re.findall(r"first loss (\S+)", told))
    assert abs(plain - ours) < 0.01, "the same weights, but for bfloat16"
    assert re.search(r"ratio +\d", told)
    assert len(re.findall(r"MiB", told)) == 2
