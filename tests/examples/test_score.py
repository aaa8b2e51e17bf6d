import re

import pytest
import torch

from raincleave.data.layouts import find_pairs
from raincleave.data.pairs import read_pair
from raincleave.metrics import PROTOCOLS, psnr, ssim


def test_the_table_has_what_the_metrics_say(example, pairs, tiny):
    head, _, *rows = example("score", pairs, tiny)
    assert head == "3 pairs, paired folders of your own"
    for row, protocol in zip(rows, PROTOCOLS, strict=True):
        name, *figures = re.findall(r"[\w.]+", row)
        assert name == protocol
        images = [read_pair(pair).values() for pair in find_pairs(pairs).pairs]
        for measure, figure, digits in ((psnr, figures[0], 2), (ssim, figures[1], 4)):
            scores = [measure(r[None], c[None], protocol).item() for r, c in images]
            mean = torch.tensor(scores, dtype=torch.float64).mean().item()
            assert float(figure) == pytest.approx(mean, abs=0.51 * 10**-digits)


@pytest.mark.slow
def test_as_it_stands(example):
    for row in example("score")[-3:]:
        rainy, _, derained, _ = (float(number) for number in re.findall(r"\d+\.\d+", row))
        assert derained > rainy + 3
