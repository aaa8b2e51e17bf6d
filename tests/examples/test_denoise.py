import re

import pytest
from PIL import Image

from raincleave import ResGuideNet, load


def decibels(lines):
    return [float(number) for number in re.findall(r"([\d.]+) dB", lines[-2])]


def test_a_few_steps(example, tmp_path):
    lines = example("denoise", "--steps", 2, "--blocks", 1, "--recursions", 1)
    noisy, denoised = decibels(lines)
    # White noise of 30 in each colour is 30·√(.257² + .504² + .098²) = 17.2 in luma, but for
    # what clipping takes off.
    assert 23.4 < noisy < 24
    assert denoised != noisy
    assert isinstance(load(tmp_path / "denoiser.safetensors"), ResGuideNet)
    assert Image.open(tmp_path / "denoised.png").width == 2 * 492 + 12


@pytest.mark.slow
def test_as_it_stands(example):
    noisy, denoised = decibels(example("denoise"))
    assert denoised > noisy + 0.5
