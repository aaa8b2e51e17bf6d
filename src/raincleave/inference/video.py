"""Videos, frame by frame: streamed in constant memory, with their timing and their sound."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raincleave.atomic import whole
from raincleave.errors import ConfigError, ImageError

_QUALITY = {"crf": "16", "preset": "medium"}
"""Of H.264: hardly any loss beside what the source has lost already."""
_CODECS = {".webm": "libvpx-vp9"}
_BT709, _LIMITED = 1, 1
"""FFmpeg's numbers for how players take the colours of H.264: for a source without a way of its
own, in RGB."""
_OF_THE_FILE = ("major_brand", "minor_version", "compatible_brands", "encoder")
"""Of a container's tags, those that tell of the container."""
_UNSAID = {"1 channels": "mono", "2 channels": "stereo"}
"""What a sound's channels are where its container only counts them; .mp4 must say it."""
_CUT = 1.0
"""Seconds that may be missing at the end: containers do not agree on what a duration is."""


def derain_video(
    source: Path,
    target: Path,
    derain: Callable[[NDArray[Any]], NDArray[Any]],
    progress: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> int:
    """Derain a video; the file is written whole or not at all.

    Every frame keeps its time, so variable frame rates stay; audio streams are copied as they are,
    with their languages, and so are chapters and the file's title, date and place. Of several
    pictures the first is taken, and there are no subtitles in the result. The picture is encoded
    anew, as H.264 (as VP9 in .webm).

    Args:
        source: what FFmpeg can read.
        target: its suffix names the container, .mp4, .mkv, .mov, .avi, .webm ...
        derain: (H, W, 3) uint8 RGB → the same.
        progress: is told how many frames are done, and how many there are, about so where the file
            does not say it, 0 if unknown.
        say: is told in a sentence what of the video is not in the result: a sound that FFmpeg does
            not know, frames that are damaged, an end that is cut off, that it was interlaced.

    Returns:
        The number of frames.

    Raises:
        ConfigError: PyAV is not installed.
        ImageError: the video cannot be read or written.
    """
    try:
        import av
    except ImportError as error:
        raise ConfigError(
            "videos need PyAV, which is not installed; pip install 'raincleave[video]' brings it."
        ) from error
    try:
        suffix = target.suffix.lower()
        # Where a phone says the place and the date, in names that no other container has.
        flags = {"movflags": "use_metadata_tags"} if suffix == ".mov" else {}
        with (
            whole(target) as part,
            av.open(str(source)) as given,
            av.open(str(part), "w", options=flags) as made,
        ):
            return _transcode(given, made, suffix, derain, progress, say=say)
    except (OSError, ValueError, av.error.FFmpegError) as error:
        # Closing a container that could not be begun fails as well, and hides why.
        for known in (error, error.__context__):
            if isinstance(known, ImageError):
                raise known from known.__cause__
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{source} cannot be derained into {target}: {reason}.") from error


def _transcode(
    given: Any,
    made: Any,
    suffix: str,
    derain: Callable[[NDArray[Any]], NDArray[Any]],
    progress: Callable[[int, int], None],
    *,
    say: Callable[[str], None],
) -> int:
    from av.error import InvalidDataError

    if not given.streams.video:
        raise ImageError(f"{given.name} holds no video.")
    video = given.streams.video[0]
    video.thread_type = "AUTO"
    sound = _sound(given, made, suffix, say)
    made.metadata.update({k: v for k, v in given.metadata.items() if k not in _OF_THE_FILE})
    made.set_chapters(given.chapters())
    time, total, end = _clock(given), _frames_of(given), 0.0
    picture: Any = None
    waiting: list[Any] = []  # sound that comes before the first frame, which settles the size
    done, damaged, interlaced = 0, 0, False
    for packet in given.demux(video, *sound):
        if packet.pts is not None:
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream in sound:
            if packet.dts is not None:
                packet.stream = sound[packet.stream]
                waiting.append(packet)
        else:
            try:
                frames = packet.decode()
            except InvalidDataError:  # the next may be whole again
                frames, damaged = [], damaged + 1
            for frame in frames:
                pixels = _upright(frame)
                if picture is None:
                    picture = _picture_stream(made, suffix, video, frame, pixels.shape)
                    interlaced = frame.interlaced_frame
                    _begin(made, suffix, sound)
                made.mux(picture.encode(_as_frame(derain(pixels), frame, time(frame), picture)))
                done += 1
                progress(done, total and max(total, done))
        if picture is not None and waiting:
            made.mux(waiting)
            waiting = []
    if picture is None:
        raise ImageError(f"{given.name} holds no frame that can be decoded.")
    made.mux(picture.encode(None))
    _tell(given, say, damaged=damaged, interlaced=interlaced, end=end)
    return done


def _sound(given: Any, made: Any, suffix: str, say: Callable[[str], None]) -> dict[Any, Any]:
    """The result's stream of each sound that it takes over."""
    streams = {}
    for stream in given.streams.audio:
        if stream.codec_context is None:  # phones add tracks of their makers' beside a common one
            say(f"{given.name}: a track of sound in a format unknown to FFmpeg is left out.")
            continue
        try:
            streams[stream] = made.add_stream_from_template(stream)
        except ValueError as error:
            raise _no_such_sound(suffix, [stream]) from error
        streams[stream].metadata.update(stream.metadata)
        if stream.codec_context.layout.name in _UNSAID:
            streams[stream].codec_context.layout = _UNSAID[stream.codec_context.layout.name]
    return streams


def _begin(made: Any, suffix: str, sound: dict[Any, Any]) -> None:
    """Write the container's head, where some find out what sound they cannot hold."""
    from av.error import FFmpegError

    try:
        made.start_encoding()
    except FFmpegError as error:
        raise _no_such_sound(suffix, [*sound]) if sound else error from error


def _no_such_sound(suffix: str, streams: list[Any]) -> ImageError:
    kinds = " and ".join(sorted({stream.codec_context.name for stream in streams}))
    name = streams[0].container.name
    return ImageError(f"{suffix} cannot hold the sound of {name}, {kinds}; write to .mkv instead.")


def _tell(
    given: Any, say: Callable[[str], None], *, damaged: int, interlaced: bool, end: float
) -> None:
    """Say what of a video is not in the result."""
    if interlaced:
        say(f"{given.name} is interlaced, and the result no longer is; deinterlace it before.")
    if damaged:
        say(f"{given.name}: {damaged} damaged piece{'s' * (damaged > 1)} left out.")
    declared = ((given.start_time or 0) + (given.duration or 0)) / 1e6
    if end < declared - _CUT:
        say(f"{given.name} ends early, after {end:.1f} of {declared:.1f} s; it may be cut off.")


def _frames_of(given: Any) -> int:
    """The number of frames, from the duration where the file does not say it; 0 if unknown."""
    video = given.streams.video[0]
    return video.frames or round((given.duration or 0) / 1e6 * (video.average_rate or 0))


def _clock(given: Any) -> Callable[[Any], int]:
    """When a frame is shown, in its own time base."""
    # AVI tells when a packet is decoded. FFmpeg hands that out as the times of frames, in the order
    # of the packets, which with B-frames is not the frames'. The last frames have none at all, and
    # bare streams of packets have none anywhere.
    decoded = given.format.name == "avi"
    rate = given.streams.video[0].guessed_rate or 25
    last: int | None = None
    late = 0

    def time(frame: Any) -> int:
        nonlocal last, late
        if last is None and frame.pts is not None and frame.dts is not None:
            late = frame.dts - frame.pts
        following = frame.pts or 0 if last is None else last + round(1 / (rate * frame.time_base))
        if decoded:
            last = following if frame.dts is None else max(following, frame.dts - late)
        else:
            last = following if frame.pts is None else frame.pts
        return last

    return time


def _upright(frame: Any) -> NDArray[Any]:
    """(H, W, 3) uint8 RGB, turned as players turn what a phone held upright has filmed."""
    from av.video.reformatter import Interpolation as By

    # FFmpeg's quick way from YUV cuts off what it should round: all comes out a level darker.
    rounded = By.BICUBIC | By.FULL_CHR_H_INT | By.ACCURATE_RND
    pixels = frame.to_ndarray(format="rgb24", interpolation=rounded)
    across, down, swapped = _display(frame)
    if swapped:
        pixels = pixels.swapaxes(0, 1)
    return np.ascontiguousarray(pixels[::down, ::across])


def _display(frame: Any) -> tuple[int, int, bool]:
    """How players show a frame: a step of ±1 across and one down, after swapping rows and columns.

    By the file's matrix, that makes (a x + c y, b x + d y) of (x, y); those of cameras turn by
    quarters, and may mirror.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 1, False
    a, b, _, c, d, *_ = np.frombuffer(bytes(data), np.int32).tolist()
    swapped = abs(b) + abs(c) > abs(a) + abs(d)
    across, down = (c, b) if swapped else (a, d)
    return -1 if across < 0 else 1, -1 if down < 0 else 1, swapped


def _picture_stream(made: Any, suffix: str, video: Any, frame: Any, shape: tuple[int, ...]) -> Any:
    stream = made.add_stream(_CODECS.get(suffix, "libx264"), rate=video.average_rate)
    stream.height, stream.width = shape[:2]
    # Half the colour resolution, as players expect it, needs even sizes.
    even = stream.height % 2 == 0 and stream.width % 2 == 0
    stream.pix_fmt = "yuv420p" if even else "yuv444p"
    stream.options = dict(_QUALITY) if suffix not in _CODECS else {"crf": "20", "b": "0"}
    if suffix == ".avi":  # cannot say when a B-frame is shown
        stream.options = {**stream.options, "bf": "0"}
    context, source = stream.codec_context, video.codec_context
    # AVI takes the time base for the rate.
    steady = suffix == ".avi" and video.base_rate
    context.time_base = 1 / video.base_rate if steady else frame.time_base
    for name in ("colorspace", "color_primaries", "color_trc"):
        setattr(context, name, getattr(source, name))
    context.color_range = frame.color_range
    if frame.format.is_rgb:
        context.colorspace, context.color_range = _BT709, _LIMITED
    if shape_of_pixels := video.sample_aspect_ratio:
        swapped = _display(frame)[2]
        context.sample_aspect_ratio = 1 / shape_of_pixels if swapped else shape_of_pixels
    return stream


def _as_frame(pixels: NDArray[Any], like: Any, time: int | None, stream: Any) -> Any:
    import av

    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    context = stream.codec_context
    frame = rgb.reformat(
        format=stream.pix_fmt,
        dst_colorspace=context.colorspace,
        dst_color_range=context.color_range or None,
    )
    frame.pts, frame.time_base = time, like.time_base
    return frame
