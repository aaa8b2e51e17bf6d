import json
import re

import pytest
from safetensors import safe_open

from raincleave import load


def check(lines, tmp_path):
    before, after = (float(number) for number in re.findall(r"([\d.]+) dB", lines[-2]))
    with safe_open(tmp_path / "finetuned.safetensors", "pt") as file:
        assert json.loads(file.metadata()["arguments"])["recursions"] == 7
    assert (tmp_path / "finetuned.png").is_file()
    assert "load(" in (tmp_path / "finetuned.md").read_text("utf-8")
    return before, after


def test_pairs_of_ones_own(example, wet_pairs, tmp_path):
    sizes = ["--steps", 12, "--patch-size", 64]
    before, after = check(example("finetune", wet_pairs, *sizes), tmp_path)
    assert after > before
    tuned = load(tmp_path / "finetuned.safetensors").state_dict()
    moved = max(float((tuned[k] - v).abs().max()) for k, v in load("drn-7x7").state_dict().items())
    # Adam moves a weight by about the learning rate a step.
    assert 1e-5 < moved <= 1.22e-3


@pytest.mark.slow
def test_as_it_stands(example, tmp_path):
    before, after = check(example("finetune"), tmp_path)
    assert after > before
