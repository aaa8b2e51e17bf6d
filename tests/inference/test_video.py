"""Short clips made on the spot: same frames, times, colours and sound."""

import re
import struct
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
            pixels[:] = (200, 40 + 10 * k % 200, 60)
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


def write(path, codec="libx264", pix_fmt="yuv420p", size=(64, 48), options=None, **stream):
    """Twelve frames of bars that grow brighter, encoded with little loss."""
    bars = np.array([20, 90, 160, 220], np.uint8).repeat(size[0] // 4)
    seen = []
    with av.open(str(path), "w") as made:
        video = made.add_stream(codec, rate=25)
        video.width, video.height, video.pix_fmt = *size, pix_fmt
        video.options = options or {}
        for name, value in stream.items():
            setattr(video.codec_context, name, value)
        for k in range(12):
            pixels = np.broadcast_to(bars[None, :, None] + np.uint8(k), (size[1], size[0], 3))
            seen.append(int(pixels[0, 0, 0]))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            full = stream.get("color_range", 0) == 2 or pix_fmt.startswith("yuvj")
            made.mux(video.encode(frame.reformat(format=pix_fmt, dst_color_range=2 if full else 1)))
        made.mux(video.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("limited.mp4", {}),
        ("full.mp4", {"color_range": 2}),
        ("photos.mov", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("screen.mov", {"codec": "png", "pix_fmt": "rgb24"}),
    ],
)
def test_black_and_white_stay_whatever_the_source_s_range(tmp_path, name, options):
    source = write(tmp_path / name, **options)
    derain_video(source, tmp_path / "out.mp4", lambda x: x)
    for (_, ours), (_, theirs) in zip(read(tmp_path / "out.mp4")[0], read(source)[0], strict=True):
        # Not at the bars' edges, where half the colour resolution blurs.
        differences = ours[8:40, 4::16].astype(int) - theirs[8:40, 4::16]
        assert np.abs(differences).max() <= 4
    with av.open(str(tmp_path / "out.mp4")) as made:
        assert made.streams.video[0].codec_context.colorspace != 0, "that would be RGB"


def exact(path):
    """Frames as float RGB, (H, W, 3), by the definition of BT.709 and no rounding at all."""
    with av.open(str(path)) as given:
        frames = [f.reformat(format="yuv444p") for f in given.decode(video=0)]
    for frame in frames:
        luma, blue, red = (plane.astype(float) for plane in frame.to_ndarray())
        y, b, r = (luma - 16) * 255 / 219, (blue - 128) * 255 / 224, (red - 128) * 255 / 224
        yield np.stack([y + 1.5748 * r, y - 0.1873 * b - 0.4681 * r, y + 1.8556 * b], -1)


def test_a_clip_left_alone_grows_no_darker(tmp_path):
    source, target = tmp_path / "in.mp4", tmp_path / "out.mp4"
    noise = np.random.default_rng(0)
    with av.open(str(source), "w") as made:
        video = made.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.options = {"crf": "0"}
        video.codec_context.colorspace = 1
        for _ in range(4):
            pixels = noise.integers(60, 200, (48, 64, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            made.mux(video.encode(frame.reformat(format="yuv420p", dst_colorspace=1)))
        made.mux(video.encode(None))
    seen = []
    derain_video(source, target, lambda x: (seen.append(x.astype(float)), x)[1])
    for path, frames in ((source, seen), (target, list(exact(target)))):
        wanted = np.stack(list(exact(source)))
        shift = (np.stack(frames) - wanted).mean((0, 1, 2))
        assert np.abs(shift).max() < 0.4, (path, shift)


def test_what_gets_lost_is_told(tmp_path):
    said = []
    half = {"flags": "+ildct+ilme"}
    source = write(tmp_path / "in.mkv", codec="mpeg2video", options=half)
    derain_video(source, tmp_path / "out.mkv", lambda x: x, say=said.append)
    assert said == [f"{source} is interlaced, and the result no longer is; deinterlace it before."]
    long = make(tmp_path / "long.mkv", times=range(60), sound=False)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(long.read_bytes()[: long.stat().st_size // 2])
    said.clear()
    assert 0 < derain_video(cut, tmp_path / "short.mkv", lambda x: x, say=said.append) < 40
    assert re.fullmatch(rf"{cut} ends early, after \d\.\d of 5\.0 s; it may be cut off\.", said[0])
    for whole in (long, make(tmp_path / "sound.mp4", times=range(3))):
        said.clear()
        derain_video(whole, tmp_path / f"out{whole.name}", lambda x: x, say=said.append)
        assert said == []


def test_sound_that_does_not_fit_is_told_at_once(tmp_path):
    source = make(tmp_path / "in.mp4")
    seen = []
    with pytest.raises(ImageError, match=r"webm cannot hold the sound of .*in\.mp4, aac; .*\.mkv"):
        derain_video(source, tmp_path / "out.webm", lambda x: (seen.append(x), x)[1])
    assert not seen
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_sound_whose_channels_are_only_counted(tmp_path):
    source = make(tmp_path / "in.mp4", sound=False)
    with av.open(str(source)) as given, av.open(str(tmp_path / "in.mkv"), "w") as made:
        video = made.add_stream_from_template(given.streams.video[0])
        sound = made.add_stream("pcm_s16le", rate=44100)
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                made.mux(packet)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8820), np.int16), layout="stereo")
        silence.sample_rate, silence.pts = 44100, 0
        made.mux(sound.encode(silence))
        made.mux(sound.encode(None))
    derain_video(tmp_path / "in.mkv", tmp_path / "out.mp4", lambda x: x)
    assert sum(map(len, read(tmp_path / "out.mp4")[1])) == 4 * 4410


def test_frames_without_any_time_follow_one_another(tmp_path):
    write(tmp_path / "in.h264")
    source = (tmp_path / "in.h264").rename(tmp_path / "in.mp4")
    derain_video(source, tmp_path / "out.mp4", lambda x: x)
    steps = np.diff([time for time, _ in read(tmp_path / "out.mp4")[0]])
    assert steps == pytest.approx([0.04] * 11, abs=1e-3)


def test_where_the_file_does_not_count_its_frames(tmp_path):
    source = make(tmp_path / "in.mkv", times=range(24), sound=False)
    told = []
    derain_video(source, tmp_path / "out.mkv", lambda x: x, lambda *numbers: told.append(numbers))
    assert told == [(done, 24) for done in range(1, 25)]


def test_chapters_stay_and_avi_has_the_rate_of_its_source(tmp_path):
    source = write(tmp_path / "in.mp4")
    chapters = [
        {"id": k, "start": k * 240, "end": k * 240 + 240, "time_base": Fraction(1, 1000)}
        | {"metadata": {"title": f"part {k}"}}
        for k in (0, 1)
    ]
    with av.open(str(source)) as given, av.open(str(tmp_path / "in.mkv"), "w") as made:
        video = made.add_stream_from_template(given.streams.video[0])
        made.set_chapters(chapters)
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                made.mux(packet)
    derain_video(tmp_path / "in.mkv", tmp_path / "out.mkv", lambda x: x)
    derain_video(source, tmp_path / "out.avi", lambda x: x)
    with av.open(str(tmp_path / "out.mkv")) as result:
        assert [c["metadata"]["title"] for c in result.chapters()] == ["part 0", "part 1"]
    with av.open(str(tmp_path / "out.avi")) as result:
        assert result.streams.video[0].average_rate == 25


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", range(4))  # clockwise
def test_what_a_phone_held_otherwise_has_filmed_is_put_upright(tmp_path, quarters, mirrored):
    source = write(tmp_path / "in.mp4")
    clockwise = np.array([[0, 1], [-1, 0]])
    matrix = np.linalg.matrix_power(clockwise, quarters) @ np.diag([-1 if mirrored else 1, 1])
    (a, b), (c, d) = (65536 * matrix).tolist()
    data = bytearray(source.read_bytes())
    at = data.index(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 2**30)
    source.write_bytes(data)
    with av.open(str(source)) as given:
        lying = next(given.decode(video=0)).to_ndarray(format="rgb24")
    seen = []
    derain_video(source, tmp_path / "out.mp4", lambda x: (seen.append(x), x)[1])
    upright = np.rot90(lying, -quarters)
    upright = upright[:, ::-1] if mirrored else upright
    assert seen[0].shape == upright.shape
    assert np.abs(seen[0].astype(int) - upright).max() <= 4
    with av.open(str(tmp_path / "out.mp4")) as made:
        (frame, *_) = made.decode(video=0)
        assert (frame.height, frame.width) == upright.shape[:2]
        assert frame.rotation == 0


def test_avi_keeps_the_order_and_the_times_of_its_frames(tmp_path):
    source = write(tmp_path / "in.avi", options={"bf": "2", "b_strategy": "0"})
    for name in ("out.avi", "out.mp4"):
        derain_video(source, tmp_path / name, lambda x: x)
        frames, _ = read(tmp_path / name)
        brightness = [int(pixels[24, 8, 0]) for _, pixels in frames]
        assert brightness == sorted(brightness)
        assert len(frames) == 12
        steps = np.diff([time for time, _ in frames])
        assert steps == pytest.approx([0.04] * 11, abs=2e-3)
    derain_video(tmp_path / "out.avi", tmp_path / "again.avi", lambda x: x)
    assert len(read(tmp_path / "again.avi")[0]) == 12


def test_pixels_that_are_no_squares_stay_so(tmp_path):
    source = write(tmp_path / "in.mp4", sample_aspect_ratio=Fraction(16, 11))
    derain_video(source, tmp_path / "out.mkv", lambda x: x)
    with av.open(str(tmp_path / "out.mkv")) as made:
        assert made.streams.video[0].sample_aspect_ratio == Fraction(16, 11)


def test_languages_and_the_title_stay_and_suffixes_may_shout(tmp_path):
    with (
        av.open(str(make(tmp_path / "plain.mp4"))) as given,
        av.open(str(tmp_path / "in.mkv"), "w") as made,
    ):
        made.metadata["title"] = "Rain"
        streams = {s: made.add_stream_from_template(s) for s in given.streams}
        streams[given.streams.audio[0]].metadata["language"] = "deu"
        for packet in given.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream]
                made.mux(packet)
    derain_video(tmp_path / "in.mkv", tmp_path / "out.MKV", lambda x: x)
    with av.open(str(tmp_path / "out.MKV")) as made:
        assert made.metadata["title"] == "Rain"
        assert made.streams.audio[0].language == "deu"
    derain_video(make(tmp_path / "mute.mp4", sound=False), tmp_path / "out.WEBM", lambda x: x)
    with av.open(str(tmp_path / "out.WEBM")) as made:
        assert made.streams.video[0].codec_context.name.startswith("vp9")


def test_odd_sizes_and_what_the_network_changes(tmp_path):
    source = make(tmp_path / "in.mp4", size=(47, 31), sound=False)
    derain_video(source, tmp_path / "out.mp4", lambda x: 255 - x)
    frames, _ = read(tmp_path / "out.mp4")
    assert frames[0][1].shape == (31, 47, 3)
    assert np.abs(frames[0][1][15, 20].astype(int) - (55, 215, 195)).max() <= 4


def test_a_phone_s_place_stays(tmp_path):
    plain, source = make(tmp_path / "plain.mov"), tmp_path / "in.mov"
    place = {"com.apple.quicktime.location.ISO6709": "+52.5200+013.4050/"}
    with (
        av.open(str(plain)) as given,
        av.open(str(source), "w", options={"movflags": "use_metadata_tags"}) as made,
    ):
        made.metadata.update(place)
        video = made.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = video
                made.mux(packet)
    derain_video(source, tmp_path / "out.mov", lambda x: x)
    with av.open(str(tmp_path / "out.mov")) as result:
        assert place.items() <= result.metadata.items()


def test_one_damaged_piece_costs_one_frame(tmp_path):
    source = make(tmp_path / "in.mp4")
    with av.open(str(source)) as given:
        packets = [(p.pos, p.size) for p in given.demux(given.streams.video[0]) if p.size]
    data = bytearray(source.read_bytes())
    start, size = packets[5]
    data[start + 4 : start + size] = b"\xff" * (size - 4)
    source.write_bytes(data)
    said = []
    count = derain_video(source, tmp_path / "out.mp4", lambda x: x, say=said.append)
    assert count == len(read(tmp_path / "out.mp4")[0]) == len(TIMES) - 1
    assert said == [f"{source}: 1 damaged piece left out."]


def test_a_sound_that_nobody_knows_is_left_out_and_told(tmp_path, capsys):
    source = make(tmp_path / "in.mp4")
    newest = source.read_bytes().replace(b"mp4a", b"apac").replace(b"esds", b"dapa")
    source.write_bytes(newest)
    assert run(["derain", str(source), "-o", str(tmp_path / "out.mp4"), "--stages", "1"]) == 0
    assert "a track of sound in a format unknown to FFmpeg is left out." in capsys.readouterr().err
    frames, sound = read(tmp_path / "out.mp4")
    assert len(frames) == len(TIMES)
    assert sound == []


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
