"""The renderer and the textures, measured rather than looked at."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from raincleave.data.augmentation import RandomRain
from raincleave.data.synthesis import PRESETS, Rain, RainRenderer
from raincleave.data.textures import RainTextures
from raincleave.errors import ConfigError, DataError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


ONE_WAY = Rain(slant=(20, 20), spread=(0, 0), cover=(0.3, 0.3), length=(60, 60), width=(0.8, 0.8))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("size", [(1, 1), (7, 90), (48, 40)])
def test_any_size_stays_an_image_and_the_input_untouched(preset, size):
    clean = torch.rand(3, 3, *size, generator=generator())
    before = clean.clone()
    rainy, rain = RainRenderer(preset, generator=generator())(clean)
    assert torch.equal(clean, before)
    assert rainy.shape == clean.shape
    assert rain.shape == (3, 1, *size)
    assert rainy.min() >= 0
    assert rainy.max() <= 1
    assert rain.min() >= 0
    assert torch.isfinite(rainy).all()


def test_the_papers_model_is_added_and_clipped():
    clean = torch.rand(4, 3, 40, 40, generator=generator())
    for preset in ("light", "heavy"):
        rainy, rain = RainRenderer(preset, generator=generator())(clean)
        torch.testing.assert_close(rainy, (clean + rain).clamp(max=1))
        assert rain.amax((1, 2, 3)).min() > 0


def test_a_seed_is_a_rain():
    clean = torch.zeros(2, 3, 32, 32)
    first = RainRenderer("heavy")(clean, generator=generator(5)).rain
    assert torch.equal(first, RainRenderer("heavy", generator=generator(5))(clean).rain)
    assert not torch.equal(first, RainRenderer("heavy")(clean, generator=generator(6)).rain)
    assert not torch.equal(first[0], first[1])


def test_large_pictures_are_painted_part_by_part_to_the_same(monkeypatch):
    clean = torch.full((2, 3, 70, 90), 0.4)
    at_once = RainRenderer("heavy")(clean, generator=torch.Generator().manual_seed(3)).rainy
    monkeypatch.setattr("raincleave.data.streaks._STEPS_AT_ONCE", 97)
    in_parts = RainRenderer("heavy")(clean, generator=torch.Generator().manual_seed(3)).rainy
    torch.testing.assert_close(in_parts, at_once, rtol=0, atol=1e-6)


def test_every_row_and_column_gets_its_share():
    clean = torch.zeros(200, 3, 48, 40)
    rain = RainRenderer("heavy", generator=generator())(clean).rain.mean((0, 1))
    for profile in (rain.mean(0), rain.mean(1)):
        assert profile.min() > 0.85 * profile.mean()
        assert profile.max() < 1.15 * profile.mean()


def test_cover_and_brightness_are_what_they_say():
    even = Rain(
        slant=(0, 0), spread=(0, 0), cover=(0.5, 0.5), length=(200, 200), length_variation=0,
        width=(2, 2), width_variation=0, brightness=(0.2, 0.2), brightness_variation=0,
        taper=(0, 0),
    )  # fmt: skip
    rain = RainRenderer(even, generator=generator())(torch.zeros(64, 3, 64, 64)).rain
    assert rain.mean().item() == pytest.approx(0.5 * 0.2, rel=0.05)


def test_streaks_lie_along_the_slant():
    wide = RainRenderer(ONE_WAY, generator=generator()).with_(width=(2, 2))
    rain = wide(torch.zeros(8, 3, 128, 128)).rain[:, 0]
    # The structure tensor's weaker direction is the streaks' own.
    gy, gx = rain.diff(dim=1)[:, :, :-1], rain.diff(dim=2)[:, :-1]
    angle = 0.5 * torch.atan2(2 * (gx * gy).sum(), (gx**2).sum() - (gy**2).sum())
    # Gradients point across the streaks: an angle a from horizontal is a slant of −a from vertical.
    assert math.degrees(-angle) == pytest.approx(20, abs=1.5)


def test_flat_streaks_are_drawn_as_well_as_steep_ones():
    steep = RainRenderer(ONE_WAY).with_(slant=(0, 0))
    flat = RainRenderer(ONE_WAY).with_(slant=(90, 90))
    clean = torch.zeros(32, 3, 96, 96)
    means = [r(clean, generator=generator()).rain.mean().item() for r in (steep, flat)]
    assert means[0] == pytest.approx(means[1], rel=0.1)


def test_blur_spreads_a_streak_and_keeps_its_light():
    sharp = RainRenderer(ONE_WAY)
    soft = sharp.with_(blur=(2, 2))
    clean = torch.zeros(16, 3, 96, 96)
    a, b = (r(clean, generator=generator()).rain for r in (sharp, soft))
    assert b.mean().item() == pytest.approx(a.mean().item(), rel=0.1)
    assert b.max() < 0.6 * a.max()


def test_screen_never_clips_and_veil_greys():
    clean = torch.full((4, 3, 32, 32), 0.8)
    screened, rain = RainRenderer("heavy", generator=generator()).with_(screen=1)(clean)
    torch.testing.assert_close(screened, (clean + rain * (1 - clean)).clamp(max=1))
    dry = Rain(cover=(1e-6, 1e-6), veil=(0.5, 0.5))
    black = RainRenderer(dry, generator=generator())(torch.zeros(4, 3, 32, 32)).rainy
    assert black.min() > 0.2
    assert black.max() < 0.5


def test_mist_thins_with_the_rain():
    grey = torch.full((2, 3, 64, 64), 0.2)
    rain = Rain(veil=(0.5, 0.5), veil_at=0.04, cover=(0.5, 0.5))
    dense = RainRenderer(rain, generator=generator()).with_(brightness=(0.6, 0.6))(grey)
    assert dense.rain.mean() > 0.04
    assert dense.rainy.amin() > 0.2 + 0.5 * (0.55 - 0.2) - 1e-6, "half of the picture is mist"
    thin = RainRenderer(rain, generator=generator()).with_(brightness=(0.01, 0.01))(grey)
    share = thin.rain.mean((1, 2, 3)) / 0.04
    mist = thin.rainy.amin((1, 2, 3)) - 0.2
    assert torch.all(share < 0.3)
    assert torch.all(mist < 0.5 * share * (0.9 - 0.2) + 1e-6)
    assert torch.all(mist > 0.5 * share * (0.55 - 0.2) - 1e-6)


def test_p_and_same_on_batch():
    clean = torch.rand(64, 3, 16, 16, generator=generator())
    rainy, rain = RainRenderer("heavy", p=0.5, generator=generator())(clean)
    dry = rain.amax((1, 2, 3)) == 0
    assert 16 < dry.sum() < 48
    assert torch.equal(rainy[dry], clean[dry])
    rain = RainRenderer("heavy", same_on_batch=True, generator=generator())(clean).rain
    assert rain.max() > 0
    assert torch.equal(rain, rain[:1].expand_as(rain))


def test_gradients_pass_to_the_clean_image():
    clean = torch.full((1, 3, 16, 16), 0.3, requires_grad=True)
    RainRenderer("light", generator=generator())(clean).rainy.sum().backward()
    assert clean.grad.mean() > 0.9


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="no rain 'wet'; choose one of light, heavy, real"):
        RainRenderer("wet")
    with pytest.raises(ConfigError, match="needs textures"):
        RainRenderer("heavy", texture_rate=0.5)
    with pytest.raises(ConfigError, match="rain has no colour"):
        RainRenderer("heavy").with_(colour=1)
    with pytest.raises(DataError, match="at least one pair"):
        RainTextures([])
    for rates in ({"texture_rate": 67}, {"texture_rate": -1}, {"p": 2}):
        with pytest.raises(ConfigError, match=f"{next(iter(rates))} is a share from 0 to 1"):
            RainRenderer("heavy", **rates)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cover": (0, 0.2)}, r"cover is a range \(low, high\) above 0 upwards, not \(0, 0\.2\)"),
        ({"width": (2, 1)}, r"width is a range .* above 0 upwards, not \(2, 1\)"),
        ({"slants": (2, 1)}, r"slants is a range .* from 1 upwards"),
        ({"slant": (10, -10)}, r"slant is a range \(low, high\), not \(10, -10\)"),
        ({"veil": (-0.1, 0)}, r"veil is a range .* from 0 upwards"),
        ({"depth": 0}, "depth is at least 1, not 0"),
    ],
)
def test_what_cannot_be_drawn_is_named(changes, told):
    with pytest.raises(ConfigError, match=told):
        RainRenderer("light").with_(**changes)


def test_random_rain_is_a_kornia_augmentation():
    from kornia.augmentation import AugmentationSequential, RandomHorizontalFlip

    clean = torch.rand(4, 3, 32, 32, generator=generator())
    rain = RandomRain("heavy", p=1.0, generator=generator())
    rainy = rain(clean)
    assert torch.equal(rainy, rain(clean, params=rain._params))
    assert (rainy >= clean - 1e-6).all()
    assert torch.equal(RandomRain("heavy", p=0.0)(clean), clean)
    chain = AugmentationSequential(RandomHorizontalFlip(p=1.0), RandomRain("light", p=1.0))
    assert (chain(clean) >= clean.flip(-1) - 1e-6).all()


@pytest.fixture
def pair(tmp_path):
    """A clean and a rainy image whose layer is known: one upright stripe, one saturated patch."""
    clean = np.full((60, 80, 3), 100, np.uint8)
    clean[:20, 60:] = 250
    layer = np.zeros((60, 80, 1), int)
    layer[:, 30:33] = 50
    layer[:20, 60:] = 30
    rainy = np.clip(clean + layer, 0, 255).astype(np.uint8)
    files = tmp_path / "rain-1.png", tmp_path / "norain-1.png"
    Image.fromarray(rainy).save(files[0])
    Image.fromarray(clean).save(files[1])
    return files


def test_textures_are_the_difference_where_it_is_known(pair):
    textures = RainTextures([pair], scale=(1, 1), turn=0, second=0)
    layer, mask = textures.layers[0][0, 0], textures.masks[0][0, 0]
    assert mask.sum() == 20 * 20
    torch.testing.assert_close(layer[:, 30:33], torch.full((60, 3), 50 / 255))
    assert layer[30:, 40:].max() == 0
    assert layer[:20, 60:].min() >= 5 / 255  # at least what saturated it


def test_texture_patches_avoid_what_is_masked(pair):
    textures = RainTextures([pair], scale=(1, 1), turn=0, second=0)
    patches = textures.sample(50, 24, 24, generator())
    assert patches.shape == (50, 1, 24, 24)
    assert patches.max().item() == pytest.approx(50 / 255, abs=1e-4)
    assert torch.equal(patches, textures.sample(50, 24, 24, generator()))
    neither = (patches > 1e-4) & (patches < 0.19)  # neither dry nor the stripe: the masked corner
    assert neither.float().mean((1, 2, 3)).max() <= 0.03


def test_textures_replace_drawn_rain_at_the_rate(pair):
    textures = RainTextures([pair])
    rain = RainRenderer("heavy", textures=textures, texture_rate=1.0, generator=generator())
    assert rain(torch.zeros(8, 3, 24, 24)).rain.max() <= 2 * 50 / 255 + 1e-6
    mixed = RainRenderer("heavy", textures=textures, texture_rate=0.5, generator=generator())
    layers = mixed(torch.zeros(64, 3, 24, 24)).rain
    assert (layers.amax((1, 2, 3)) > 0).sum() > 32


@pytest.mark.parametrize("size", [(61, 81), (60, 81), (59, 80), (60, 80)])
def test_what_is_not_warped_keeps_its_pixels(pair, size):
    textures = RainTextures([pair], warped=0, second=0)
    (patch,) = textures.sample(1, *size, generator())
    stripe = (patch[0, 30] * 255).round()
    assert set(stripe.tolist()) == {0, 50}, "nothing between the stripe and what is dry"


def test_larger_than_the_texture_still_works(pair):
    assert RainTextures([pair]).sample(2, 100, 120, generator()).shape == (2, 1, 100, 120)


@pytest.mark.parametrize("size", [(60, 80), (80, 60), (100, 100), (24, 24)])
def test_textures_of_several_sizes_leave_no_part_dry(tmp_path, size):
    pairs = []
    for number, (height, width) in enumerate([(60, 80), (60, 80), (80, 60)]):
        files = tmp_path / f"rain-{number}.png", tmp_path / f"norain-{number}.png"
        for file, level in zip(files, (110 + 20 * number, 100), strict=True):
            Image.new("L", (width, height), level).save(file)
        pairs.append(files)
    layers = RainTextures(pairs, second=0).sample(60, *size, generator())
    levels = (layers * 255).round().unique().tolist()
    assert levels == [10, 30, 50], "every texture, everywhere"


def test_a_pair_of_two_sizes_is_named(pair, tmp_path):
    Image.new("RGB", (5, 5)).save(tmp_path / "small.png")
    with pytest.raises(DataError, match=r"rain-1\.png and .*small\.png differ in size"):
        RainTextures([(pair[0], tmp_path / "small.png")])


def test_textures_out_of_side_by_side_pictures(tmp_path):
    from raincleave.data.datamodules import SyntheticRain

    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "photos" / "a.png")
    scene = np.linspace(20, 180, 48 * 40 * 3).reshape(40, 48, 3).transpose(1, 0, 2)
    both = np.concatenate([scene, scene], 1).astype(np.uint8)  # rainy on the left, clean right
    both[:, 10:13] += 50
    (tmp_path / "pairs").mkdir()
    for number in (1, 2):
        file = tmp_path / "pairs" / f"{number}.jpg"
        Image.fromarray(both).save(file, quality=100, subsampling=0)
    data = SyntheticRain(
        str(tmp_path / "photos"), "heavy", textures=str(tmp_path / "pairs"), texture_rate=1.0
    )
    layers = data.renderers[0].textures.layers
    assert [layer.shape for layer in layers] == [(1, 1, 48, 40)] * 2
    assert layers[0].max().item() == pytest.approx(50 / 255, abs=0.02)


def test_a_layer_with_a_ceiling_is_cut_off_there_and_layers_add_up():
    dark = torch.zeros(8, 3, 96, 96)
    ranges = {"brightness": (0.3, 0.3), "level": (0.5, 0.5), "hardness": (20, 20), "cover": (1, 1)}
    renderer = RainRenderer("heavy", generator=generator()).with_(**ranges, slants=(1, 1))
    rain = renderer(dark).rain
    assert rain.max() == pytest.approx(0.15)
    # Hard streaks are even: a good part of the pixels is at the ceiling, few are in between.
    assert (rain > 0.149).float().mean() > 0.3
    assert ((rain > 0.01) & (rain < 0.149)).float().mean() < 0.3
    crossed = renderer.with_(slants=(3, 3))(dark).rain
    assert 0.15 < crossed.max() <= 0.45 + 1e-6
