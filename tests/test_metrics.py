"""The protocols against a plain numpy reference, the papers' own scripts, and two processes."""

import json
import math
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from PIL import Image
from torchmetrics import MetricCollection

from raincleave.errors import ConfigError, ImageError
from raincleave.metrics import PROTOCOLS, DerainPSNR, DerainSSIM, psnr, ssim

SHARED = Path(__file__).parents[2] / "shared" / "protocol"
# Heights and widths whose shorter side makes csdwren shrink by 1, 1, 2 and 3.
SIZES = [(11, 11), (37, 64), (384, 391), (641, 640)]


def scene(height, width, seed):
    """A smooth uint8 picture and a rainy, noisy version of it, (H, W, 3) each."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / a + columns / b) for a, b in ((9.0, 31.0), (14.0, -8.0), (50.0, 6.0))]
    clean = np.stack([110 + 90 * wave for wave in waves], axis=-1)
    streaks = 80 * ((columns + rows // 3) % 7 == 0)[..., None]
    rainy = clean + streaks + rng.normal(0, 6, clean.shape)
    return clean.clip(0, 255).astype(np.uint8), rainy.clip(0, 255).astype(np.uint8)


def batch(image):
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None]


def reference_planes(image, protocol):
    """The planes a protocol scores, from the text of EVALUATION alone, pixel formulas in full."""
    red, green, blue = np.moveaxis(image.astype(np.float64) / 255, -1, 0)
    luma = 65.481 * red + 128.553 * green + 24.966 * blue + 16
    if protocol == "csdwren":
        return [luma]
    if protocol == "mprnet":
        return [np.floor(np.round(luma, 9) + 0.5)]
    return list(np.moveaxis(image.astype(np.float64), -1, 0))


def reference_ssim(x, y, shrink):
    factor = max(1, math.floor(min(x.shape) / 256 + 0.5)) if shrink else 1
    shrunk = []
    for plane in (x, y):
        padded = np.pad(plane, factor, mode="symmetric")
        start = factor - (factor - 1) // 2
        boxes = np.lib.stride_tricks.sliding_window_view(padded, (factor, factor))
        boxes = boxes[start:, start:][: plane.shape[0], : plane.shape[1]]
        shrunk.append(boxes.mean((-1, -2))[::factor, ::factor])
    offsets = np.mgrid[-5:6, -5:6]
    window = np.exp(-(offsets**2).sum(0) / (2 * 1.5**2))
    window /= window.sum()
    views = [np.lib.stride_tricks.sliding_window_view(plane, (11, 11)) for plane in shrunk]

    def mean(values):
        return np.einsum("hwij,ij->hw", values, window)

    mx, my = map(mean, views)
    vx, vy = mean(views[0] ** 2) - mx**2, mean(views[1] ** 2) - my**2
    cov = mean(views[0] * views[1]) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return ((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()


def reference(test, clean, protocol):
    x, y = reference_planes(test, protocol), reference_planes(clean, protocol)
    mse = np.mean([np.mean((a - b) ** 2) for a, b in zip(x, y, strict=True)])
    pairs = zip(x, y, strict=True)
    similarity = np.mean([reference_ssim(a, b, protocol == "csdwren") for a, b in pairs])
    return 20 * math.log10(255 / math.sqrt(mse)), similarity


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_scores_equal_the_plain_reference(protocol, size):
    clean, rainy = scene(*size, seed=1)
    expected = reference(rainy, clean, protocol)
    got = psnr(batch(rainy), batch(clean), protocol), ssim(batch(rainy), batch(clean), protocol)
    assert [value.item() for value in got] == pytest.approx(expected, abs=1e-9)
    as_floats = batch(rainy).float() / 255, batch(clean).float() / 255
    assert psnr(*as_floats, protocol).item() == got[0].item()
    assert ssim(*as_floats, protocol).item() == got[1].item()


def test_frozen_scores_of_one_image():
    clean, rainy = scene(384, 391, seed=1)
    frozen = json.loads((Path(__file__).parent / "golden" / "protocol.json").read_text())
    for protocol, (decibels, similarity) in frozen.items():
        assert psnr(batch(rainy), batch(clean), protocol).item() == pytest.approx(decibels)
        assert ssim(batch(rainy), batch(clean), protocol).item() == pytest.approx(similarity)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the papers' image pairs are not at hand")
@pytest.mark.parametrize("pair", "abcd")
@pytest.mark.parametrize("protocol", ["csdwren", "mprnet"])
def test_the_papers_own_scripts_agree(pair, protocol):
    expected = json.loads((SHARED / "golden.json").read_text())["pairs"][pair][protocol]
    test, clean = (
        batch(np.asarray(Image.open(SHARED / f"{pair}-{kind}.png"))) for kind in ("test", "clean")
    )
    assert psnr(test, clean, protocol).item() == pytest.approx(expected["psnr"], abs=1e-8)
    assert ssim(test, clean, protocol).item() == pytest.approx(expected["ssim"], abs=1e-8)


def test_saving_floors_for_csdwren_and_rounds_for_the_others():
    clean = torch.full((1, 3, 12, 12), 100 / 255)
    test = torch.full((1, 3, 12, 12), 101.7 / 255)
    one_level, two_levels = 20 * math.log10(255), 20 * math.log10(255 / 2)
    assert psnr(test, clean, "rgb").item() == pytest.approx(two_levels)
    # A level of grey is 219/255 of a level of luma.
    grey = 20 * math.log10(255 / 219)
    assert psnr(test, clean, "csdwren").item() == pytest.approx(one_level + grey)
    beyond = torch.full((1, 3, 12, 12), 7.0)
    white = torch.ones(1, 3, 12, 12)
    assert psnr(beyond, white, "csdwren").item() == math.inf
    assert ssim(beyond, white, "csdwren").item() == 1


def test_every_level_survives_float_and_back():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(1, 3, 1, 1)
    for dtype in (torch.float32, torch.float64):
        assert psnr(levels.to(dtype) / 255, levels, "csdwren").item() == math.inf


def test_integer_luma_rounds_exact_ties_up():
    grid = np.stack(np.meshgrid(*[np.arange(256)] * 3, indexing="ij"), -1).reshape(-1, 3)
    thousandths = grid @ np.array([65_481, 128_553, 24_966])
    ties = grid[thousandths % 255_000 == 127_500]
    assert len(ties) > 10
    weights = [Decimal("65.481"), Decimal("128.553"), Decimal("24.966")]
    exact = [sum(int(tie[k]) * weights[k] for k in range(3)) / 255 for tie in ties]
    up = np.array([int(v.quantize(Decimal(1), ROUND_HALF_UP)) for v in exact]) + 16
    black = torch.zeros(len(ties), 3, 1, 1, dtype=torch.uint8)
    images = torch.from_numpy(ties.astype(np.uint8))[:, :, None, None]
    expected = 20 * np.log10(255 / (up - 16))
    assert psnr(images, black, "mprnet").numpy() == pytest.approx(expected, abs=1e-12)


def test_nan_is_not_scored_as_black():
    test, clean = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    test[1, 0, 3, 3] = math.nan
    assert psnr(test, clean).isnan().tolist() == [False, True]
    assert ssim(test, clean).isnan().tolist() == [False, True]


def test_errors_name_sizes_and_protocols():
    small = torch.rand(1, 3, 10, 40)
    with pytest.raises(ImageError, match="at least 11×11 pixels; these are 40×10"):
        ssim(small, small)
    with pytest.raises(ImageError, match=r"\(1, 3, 10, 40\) and \(1, 3, 40, 10\)"):
        psnr(small, small.transpose(2, 3))
    with pytest.raises(ImageError, match="one shape"):
        psnr(small[:, :1], small[:, :1])
    with pytest.raises(ConfigError, match="no protocol 'matlab'; it is one of csdwren, mprnet"):
        DerainPSNR("matlab")


@pytest.mark.parametrize("score", [psnr, ssim])
def test_another_range_is_refused(score):
    clean = batch(scene(20, 31, seed=0)[0])
    assert clean.dtype == torch.uint8
    for other in (clean.float(), clean.double() * 257):
        with pytest.raises(
            ImageError, match=r"the ground truth has values up to \d+; divide by 255"
        ):
            score(other, other)
    with pytest.raises(ImageError, match=r"values down to -0\.\d+; undo the normalisation first"):
        score(clean.float() / 127.5 - 1, clean.float() / 127.5 - 1)
    for whole in (clean.long(), clean.to(torch.uint16)):
        with pytest.raises(ImageError, match="from uint8, not from torch"):
            score(whole, whole)
    assert torch.isfinite(score(clean.float(), clean)).all(), "a network's output may be anything"
    overshot = clean.float() / 255 * 1.2 - 0.1
    assert torch.isfinite(score(overshot, clean)).all(), "what was resized is clamped"


def images(count=5):
    """Pairs of different sizes, (3, H, W) float32."""
    pairs = []
    for index in range(count):
        clean, rainy = scene(20 + 3 * index, 31 - 2 * index, seed=index)
        pairs.append((batch(rainy)[0].float() / 255, batch(clean)[0].float() / 255))
    return pairs


def scores_of(pairs, protocol):
    metrics = DerainPSNR(protocol), DerainSSIM(protocol)
    for metric in metrics:
        for rainy, clean in pairs:
            metric.update(rainy[None], clean[None])
    return [metric.compute().item() for metric in metrics]


def test_the_mean_is_over_images_of_mixed_sizes_and_batches():
    pairs = images()
    per_image = [[f(r[None], c[None], "rgb").item() for r, c in pairs] for f in (psnr, ssim)]
    assert scores_of(pairs, "rgb") == pytest.approx(np.mean(per_image, axis=1), abs=1e-12)
    rainy, clean = (
        torch.stack([part[:, :20, :20] for part in parts]) for parts in zip(*pairs, strict=True)
    )
    one_by_one, at_once = DerainSSIM("rgb"), DerainSSIM("rgb")
    for index in range(len(pairs)):
        one_by_one.update(rainy[index : index + 1], clean[index : index + 1])
    at_once.update(rainy, clean)
    assert at_once.compute().item() == pytest.approx(one_by_one.compute().item(), abs=1e-14)


def test_sums_stay_in_float64_whatever_the_model_is_cast_to():
    metric = DerainPSNR()
    model = torch.nn.Sequential(torch.nn.Linear(1, 1), metric).to(torch.bfloat16).half()
    rainy, clean = images(1)[0]
    metric.update(rainy[None], clean[None])
    model.to(torch.bfloat16)
    assert metric.compute().dtype == torch.float64
    assert metric.compute().item() == psnr(rainy[None], clean[None]).item()
    assert metric.state_dict() == {}


def _one_of_two(rank, folder):
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    pairs = images()
    mine = UnrepeatedDistributedSampler(pairs, num_replicas=2, rank=rank, shuffle=False)
    scores = scores_of([pairs[index] for index in mine], "csdwren")
    Path(folder, f"{rank}.json").write_text(json.dumps(scores))
    dist.destroy_process_group()


def test_two_processes_score_an_odd_number_of_images_as_one_does(tmp_path):
    mp.spawn(_one_of_two, args=(str(tmp_path),), nprocs=2)
    alone = scores_of(images(), "csdwren")
    for rank in range(2):
        together = json.loads((tmp_path / f"{rank}.json").read_text())
        assert together == pytest.approx(alone, abs=1e-9)


@pytest.mark.parametrize("kind", [DerainPSNR, DerainSSIM])
def test_a_collection_keeps_protocols_apart_that_agree_at_first(kind):
    alone = {protocol: kind(protocol) for protocol in PROTOCOLS}
    together = MetricCollection({protocol: kind(protocol) for protocol in PROTOCOLS})
    first, *others = images()
    for rainy, clean in ((first[1], first[1]), *others):
        together.update(rainy[None], clean[None])
        for metric in alone.values():
            metric.update(rainy[None], clean[None])
        together.compute()
    assert len(together.compute_groups) == len(PROTOCOLS)
    for protocol, value in together.compute().items():
        assert value == alone[protocol].compute()
