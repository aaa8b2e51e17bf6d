"""Fingerprints see scenes, not files."""

import torch

from raincleave.data.fingerprints import SAME_SCENE, fingerprint, same_scenes, scene_numbers


def _image(scene, number, width=96, height=72):
    return torch.from_numpy(scene(number, width, height).copy()).permute(2, 0, 1)


def test_brightness_and_contrast_do_not_matter(scene):
    image = _image(scene, 1).float()
    torch.testing.assert_close(fingerprint(image), fingerprint(0.5 * image + 20), atol=1e-5, rtol=0)


def test_mirrored_and_other_scenes_differ(scene):
    image = _image(scene, 1)
    assert fingerprint(image) @ fingerprint(image.flip(-1)) < SAME_SCENE
    assert fingerprint(image) @ fingerprint(_image(scene, 2)) < SAME_SCENE


def test_grey_images_match_nothing():
    flat = fingerprint(torch.full((3, 20, 20), 128, dtype=torch.uint8))
    assert flat.norm() < 0.01
    assert scene_numbers(torch.stack([flat, flat])) == [0, 1]


def test_matches_and_groups(scene, monkeypatch):
    monkeypatch.setattr("raincleave.data.fingerprints._ROWS", 2)
    shown = [5, 3, 5, 4, 3, 5]
    prints = torch.stack([fingerprint(_image(scene, number)) for number in shown])
    assert scene_numbers(prints) == [0, 1, 0, 3, 1, 0]
    assert same_scenes(prints, prints[[3, 0]]) == [(0, 1), (2, 1), (3, 0), (5, 1)]


def test_groups_reach_through_a_chain():
    angles = torch.deg2rad(torch.tensor([0.0, 56.0, 28.0]))
    prints = torch.stack([angles.cos(), angles.sin()], 1)
    assert prints[0] @ prints[1] < SAME_SCENE  # joined only by the one between
    assert scene_numbers(prints) == [0, 0, 0]
