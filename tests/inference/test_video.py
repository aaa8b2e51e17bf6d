"""Short clips made on the spot: same frames, times, colours and sound."""

from fractions import Fraction

import numpy as np
import pytest

from raincleave.cli import run
from raincleave.errors import ImageError
from raincleave.inference.video import derain_video

av = pytest.importorskip("av")
TIMES = [0, 1, 2, 5, 6, 9, 10, 11]  # a variable frame rate


def make(path, size=(48, 32), colorspace=None, sound=True, times=TIMES):
    with av.open(str(path), "w") as made:
        video = made.add_stream("libx264", rate=12)
        video.width, video.height = size
        video.pix_fmt = "yuv420p" if not (size[0] % 2 or size[1] % 2) else "yuv444p"
        video.codec_context.time_base = Fraction(1, 12)
        if colorspace:
            video.codec_context.colorspace = colorspace
        audio = made.add_stream("aac", rate=44100) if sound else None
        for k, pts in enumerate(times):
            pixels = np.zeros((size[1], size[0], 3), np.uint8)
            pixels[:] = (200, 40 + 10 * k, 60)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = frame.reformat(format=video.pix_fmt, dst_colorspace=colorspace)
            frame.pts, frame.time_base = pts, Fraction(1, 12)
            made.mux(video.encode(frame))
        if audio:
            tone = (np.sin(np.arange(44100) / 20) * 9000).astype(np.int16)[None]
            for start in range(0, 44100, 1024):
                part = av.AudioFrame.from_ndarray(tone[:, start : start + 1024], layout="mono")
                part.sample_rate, part.pts = 44100, start
                made.mux(audio.encode(part))
            made.mux(audio.encode(None))
        made.mux(video.encode(None))
    return path


def read(path):
    with av.open(str(path)) as given:
        video = given.streams.video[0]
        frames = [(float(f.time), f.to_ndarray(format="rgb24")) for f in given.decode(video)]
    with av.open(str(path)) as given:
        packets = [bytes(p) for s in given.streams.audio for p in given.demux(s) if p.size]
    return frames, packets


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_frames_times_colours_and_sound_stay(tmp_path, suffix):
    source = make(tmp_path / f"in{suffix}")
    seen = []
    count = derain_video(
        source, tmp_path / f"out{suffix}", lambda x: x, lambda done, total: seen.append(done)
    )
    before, after = read(source), read(tmp_path / f"out{suffix}")
    assert count == len(TIMES)
    assert seen == list(range(1, len(TIMES) + 1))
    assert [t for t, _ in after[0]] == pytest.approx([t for t, _ in before[0]], abs=2e-3)
    assert after[1] == before[1]
    assert before[1]
    for (_, ours), (_, theirs) in zip(after[0], before[0], strict=True):
        assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 3
    assert {p.name for p in tmp_path.iterdir()} == {f"in{suffix}", f"out{suffix}"}


@pytest.mark.parametrize("colorspace", [1, 5])  # BT.709, BT.601
def test_the_network_sees_true_colours_and_players_too(tmp_path, colorspace):
    source = make(tmp_path / "in.mp4", colorspace=colorspace, sound=False)
    seen = []
    derain_video(source, tmp_path / "out.mp4", lambda x: (seen.append(x), x)[1])
    assert np.abs(seen[0][16, 24].astype(int) - (200, 40, 60)).max() <= 4
    with av.open(str(tmp_path / "out.mp4")) as made:
        assert made.streams.video[0].codec_context.colorspace == colorspace


def test_odd_sizes_and_what_the_network_changes(tmp_path):
    source = make(tmp_path / "in.mp4", size=(47, 31), sound=False)
    derain_video(source, tmp_path / "out.mp4", lambda x: 255 - x)
    frames, _ = read(tmp_path / "out.mp4")
    assert frames[0][1].shape == (31, 47, 3)
    assert np.abs(frames[0][1][15, 20].astype(int) - (55, 215, 195)).max() <= 4


def test_a_broken_video_leaves_nothing(tmp_path):
    (tmp_path / "in.mp4").write_bytes(b"no video at all")
    with pytest.raises(ImageError, match=r"in\.mp4 cannot be derained into .*out\.mp4: "):
        derain_video(tmp_path / "in.mp4", tmp_path / "out.mp4", lambda x: x)
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


def test_the_command(tmp_path, capsys, monkeypatch):
    import torch

    from raincleave.models import DRN

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    DRN(stages=1, recursions=1, channels=2).save("tiny.safetensors")
    make(tmp_path / "clip.mp4", times=[0, 1, 2])
    assert run(["derain", "clip.mp4", "--model", "tiny.safetensors", "-o", "dry.mp4"]) == 0
    assert capsys.readouterr().out == "wrote dry.mp4\n"
    assert len(read("dry.mp4")[0]) == 3
    assert run(["derain", "clip.mp4", "--model", "tiny.safetensors"]) == 0
    assert len(read("clip.derained.mp4")[0]) == 3
