import numpy as np
import pytest
from PIL import Image

av = pytest.importorskip("av")


def test_a_folder_and_a_clip(example, pairs, tmp_path):
    *pictures, clip = example("folder_and_video", pairs / "rainy", "dry")
    assert pictures == [f"wrote dry/{name}.png" for name in ("autumn", "dogs", "pavilion")]
    assert clip == "wrote dry/clip.mp4, 3 frames"
    for name in ("autumn", "dogs", "pavilion"):
        rainy, dry = (
            np.asarray(Image.open(folder / f"{name}.png"), float)
            for folder in (pairs / "rainy", tmp_path / "dry")
        )
        assert 0.1 < (rainy - dry).mean() < 30
    with av.open(str(tmp_path / "dry" / "clip.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert [frame.shape for frame in frames] == [(120, 180, 3)] * 3


def test_without_pyav_the_pictures_are_still_written(example, pairs, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(SystemExit, match="no video"):
        example("folder_and_video", pairs / "rainy", "dry")
    assert len(list((tmp_path / "dry").iterdir())) == 3
