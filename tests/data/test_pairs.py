"""Datasets: aligned crops and turns, the papers' grid, the cache, seeds, refusals."""

from functools import partial
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
import torch
from PIL import Image, PngImagePlugin
from torch.utils.data import DataLoader

from raincleave.data.layouts import find_pairs
from raincleave.data.pairs import (
    CleanImages,
    EpochSampler,
    Pair,
    Picture,
    RainPairs,
    image_files,
    read_pair,
)
from raincleave.data.pictures import read_image, read_size
from raincleave.errors import DataError
from raincleave.inference import files


@pytest.fixture
def pairs(tmp_path, scene, write):
    """Three pairs whose rainy image is the clean one plus 50, so that alignment can be seen."""
    for number in range(3):
        write(tmp_path / f"clean/{number}.png", scene(number))
        write(tmp_path / f"rainy/{number}.png", scene(number) + 50)
    return find_pairs(tmp_path).pairs


def test_whole_images_are_scaled_to_one(pairs, scene):
    item = RainPairs(pairs)[1]
    assert item["name"] == "1"
    expected = torch.from_numpy(scene(1).copy()).permute(2, 0, 1) / 255
    torch.testing.assert_close(item["clean"], expected)
    torch.testing.assert_close(item["rainy"], expected + 50 / 255)


def test_patches_are_aligned_and_differ(pairs):
    patches = RainPairs(pairs, patch_size=16, patches_per_epoch=30, augment=True)
    assert len(patches) == 30
    items = [patches[i] for i in range(30)]
    for item in items:
        assert item["clean"].shape == (3, 16, 16)
        torch.testing.assert_close(item["rainy"], item["clean"] + 50 / 255)
    assert len({item["clean"].numpy().tobytes() for item in items}) == 30


@pytest.mark.parametrize(("clean", "quarters"), [(False, {0, 2}), (True, {0, 1, 2, 3})])
def test_augmented_patches_are_turns_of_the_plain_one(pairs, clean, quarters):
    """Rain that lies on its side after a quarter turn is none that a network should learn."""
    patches = partial(RainPairs, pairs)
    if clean:
        patches = partial(CleanImages, [pair.clean.path for pair in pairs])
    plain = patches(patch_size=16, patches_per_epoch=30)
    turned = patches(patch_size=16, patches_per_epoch=30, augment=True)
    seen = set()
    for i in range(30):
        a, b = plain[i]["clean"], turned[i]["clean"]
        turns = {
            (flip, k): torch.rot90(a.flip(-1) if flip else a, k, (1, 2))
            for flip in (False, True)
            for k in range(4)
        }
        (found,) = [key for key, image in turns.items() if torch.equal(image, b)]
        seen.add(found)
    assert seen == {(flip, k) for flip in (False, True) for k in quarters}


def test_grid_is_the_papers(pairs):
    grid = RainPairs(pairs, patch_size=16, stride=12)
    assert (
        len(grid) == 3 * 3 * 3
    )  # floor((40 - 16) / 12) + 1 rows, floor((48 - 16) / 12) + 1 columns
    whole = RainPairs(pairs)[2]["clean"]
    torch.testing.assert_close(grid[2 * 9 + 1 * 3 + 2]["clean"], whole[:, 12:28, 24:40])
    assert [grid[i]["name"] for i in (0, 9, 26)] == ["0", "1", "2"]


def test_cache_changes_nothing(pairs):
    options = {"patch_size": 16, "patches_per_epoch": 9, "augment": True, "seed": 4}
    lazy, cached = RainPairs(pairs, **options), RainPairs(pairs, cache=True, **options)
    for pair in pairs:
        pair.rainy.path.write_bytes(b"")  # the cached one must not read again
    assert torch.isfinite(cached[0]["rainy"]).all()
    with pytest.raises(DataError, match=r"0\.png is empty"):
        lazy[0]
    again = RainPairs([p._replace(rainy=p.clean) for p in pairs], **options)
    assert all(torch.equal(cached[i]["clean"], again[i]["clean"]) for i in range(9))


def test_cache_is_bounded(pairs, monkeypatch):
    assert RainPairs(pairs, cache=None)._cached is not None
    monkeypatch.setattr(RainPairs, "CACHE_LIMIT", 3 * 2 * 3 * 48 * 40 - 1)
    assert RainPairs(pairs, cache=None)._cached is None


def _epoch(dataset, epoch, workers=0):
    sampler = EpochSampler(dataset, num_replicas=1, rank=0, shuffle=True, seed=1)
    sampler.set_epoch(epoch)
    loader = DataLoader(dataset, 4, sampler=sampler, num_workers=workers)
    return torch.cat([batch["clean"] for batch in loader])


def test_epochs_differ_and_workers_do_not_matter(pairs):
    dataset = RainPairs(pairs, patch_size=16, patches_per_epoch=12, augment=True)
    first = _epoch(dataset, 0)
    assert torch.equal(first, _epoch(dataset, 0))
    assert torch.equal(first, _epoch(dataset, 0, workers=2))
    other = _epoch(dataset, 1)
    assert not any(torch.equal(a, b) for a in first for b in other)


def test_ranks_share_an_epoch(pairs):
    dataset = RainPairs(pairs, patch_size=16, patches_per_epoch=12)
    ranks = [
        list(EpochSampler(dataset, num_replicas=2, rank=rank, shuffle=True)) for rank in (0, 1)
    ]
    assert sorted(ranks[0] + ranks[1]) == [(0, i) for i in range(12)]


def test_iteration_ends(pairs):
    assert len(list(RainPairs(pairs, patch_size=16, patches_per_epoch=7))) == 7


def test_clean_images(tmp_path, scene, write):
    write(tmp_path / "b.png", scene(2))
    write(tmp_path / "a.jpg", scene(1))
    (tmp_path / ".hidden.png").write_bytes(b"")
    images = CleanImages(image_files(tmp_path), patch_size=40, patches_per_epoch=4)
    assert [images[i]["name"] for i in range(4)] == ["a", "b", "a", "b"]
    assert images[1]["serial"] == 1
    assert images[2, 1]["serial"] == 9
    assert set(images[0]) == {"clean", "name", "serial"}


def test_impossible_patches(pairs):
    with pytest.raises(DataError, match=r"patch_size is 64, but the image 0 is only 48x40 pixels"):
        RainPairs(pairs, patch_size=64)
    with pytest.raises(DataError, match="at least 1 pixel"):
        RainPairs(pairs, patch_size=0)
    with pytest.raises(DataError, match="stride is 0"):
        RainPairs(pairs, patch_size=16, stride=0)


def test_reading_odd_pictures(tmp_path: Path):
    grey16 = np.full((4, 6), 257 * 200, np.uint16)
    Image.fromarray(grey16).save(tmp_path / "deep.png")
    assert read_image(Picture(tmp_path / "deep.png")).unique().tolist() == [200]
    lying = Image.new("RGB", (6, 4), (10, 20, 30))
    exif = lying.getexif()
    exif[0x0112] = 6
    lying.save(tmp_path / "lying.png", exif=exif)
    assert read_size(Picture(tmp_path / "lying.png")) == (6, 4)
    upright = read_image(Picture(tmp_path / "lying.png"))
    assert upright.shape == (3, 6, 4)
    assert upright[:, 0, 0].tolist() == [10, 20, 30]
    pillow_heif.register_heif_opener()
    lying.save(tmp_path / "lying.heic", exif=exif.tobytes())
    assert read_size(Picture(tmp_path / "lying.heic")) == (6, 4)
    assert read_image(Picture(tmp_path / "lying.heic")).shape == (3, 6, 4)
    # Pillow turns the size of a TIFF by itself.
    lying.save(tmp_path / "lying.tif", exif=exif)
    assert read_size(Picture(tmp_path / "lying.tif")) == (6, 4)
    assert read_image(Picture(tmp_path / "lying.tif")).shape == (3, 6, 4)
    exif[0x0112] = 9
    lying.save(tmp_path / "none.png", exif=exif)
    assert read_size(Picture(tmp_path / "none.png")) == (4, 6)
    assert read_image(Picture(tmp_path / "none.png")).shape == (3, 4, 6)
    wide = np.zeros((2, 5, 3), np.uint8)
    wide[:, 3:] = 9
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert read_image(Picture(tmp_path / "wide.png", "right")).unique().tolist() == [9]
    assert read_size(Picture(tmp_path / "wide.png", "left")) == (2, 2)


def test_a_size_is_read_without_the_pixels(tmp_path: Path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(noise)
    picture.save(tmp_path / "plain.png")
    picture.save(tmp_path / "lying.png", exif=exif)
    data = (tmp_path / "lying.png").read_bytes()
    start, end = data.index(b"eXIf") - 4, data.index(b"IEND") - 4
    length = int.from_bytes(data[start : start + 4], "big") + 12
    chunk = data[start : start + length]
    late = data[:start] + data[start + length : end] + chunk + data[end:]
    (tmp_path / "late.png").write_bytes(late)
    for name, size in (("plain", (200, 300)), ("lying", (300, 200)), ("late", (300, 200))):
        assert read_image(Picture(tmp_path / f"{name}.png")).shape[1:] == size
        assert read_size(Picture(tmp_path / f"{name}.png")) == size
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda self: 1 / 0)
    assert read_size(Picture(tmp_path / "plain.png")) == (200, 300)


def test_a_picture_of_both_is_decoded_once(tmp_path: Path, monkeypatch):
    both = np.random.default_rng(0).integers(0, 256, (4, 7, 3), np.uint8)
    Image.fromarray(both).save(tmp_path / "a.png")
    decoded, own = [], files.read
    monkeypatch.setattr(files, "read", lambda path: decoded.append(path) or own(path))
    left, right = Picture(tmp_path / "a.png", "left"), Picture(tmp_path / "a.png", "right")
    pair = read_pair(Pair("a", left, right, "a"))
    assert decoded == [tmp_path / "a.png"]
    for role, columns in (("rainy", slice(0, 3)), ("clean", slice(4, 7))):
        assert np.array_equal(pair[role].permute(1, 2, 0), both[:, columns])
        assert pair[role].is_contiguous()


def test_deep_pictures_are_scaled_and_rounded(tmp_path: Path):
    Image.fromarray(np.full((4, 6), 257 * 200 - 100, np.uint16)).save(tmp_path / "deep.png")
    assert read_image(Picture(tmp_path / "deep.png")).unique().tolist() == [200]
    Image.fromarray(np.full((4, 6), 0.5, np.float32)).save(tmp_path / "float.tif")
    assert read_image(Picture(tmp_path / "float.tif")).unique().tolist() == [128]
    Image.fromarray(np.full((4, 6), 70000, np.int32)).save(tmp_path / "wide.tif")
    with pytest.raises(DataError, match=r"wide\.tif is of mode I with values .* 70000"):
        read_image(Picture(tmp_path / "wide.tif"))


def test_a_picture_of_too_many_pixels_is_refused_in_one_sentence(tmp_path: Path, monkeypatch):
    Image.new("L", (50, 50)).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for reading in (read_image, read_size):
        with pytest.raises(DataError, match=r"huge\.png has more pixels"):
            reading(Picture(tmp_path / "huge.png"))
