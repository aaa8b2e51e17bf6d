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


def derain_video(
    source: Path,
    target: Path,
    derain: Callable[[NDArray[Any]], NDArray[Any]],
    progress: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> int:
    """Derain a video; the file is written whole or not at all.

    Every frame keeps its time, so variable frame rates stay; audio streams are copied as they are,
    with their languages, and so are the file's title, date and place. Of several pictures the first
    is taken, and there are no subtitles in the result. The picture is encoded anew, as H.264 (as
    VP9 in .webm).

    Args:
        source: what FFmpeg can read.
        target: its suffix names the container, .mp4, .mkv, .mov, .avi, .webm ...
        derain: (H, W, 3) uint8 RGB → the same.
        progress: is told how many frames are done, and how many there are, 0 if unknown.
        say: is told in a sentence what of the video is not in the result: a sound that FFmpeg does
            not know, frames that are damaged.

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
        if isinstance(error, ImageError):
            raise
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
    sound = {}
    for stream in given.streams.audio:
        if stream.codec_context is None:  # phones add tracks of their makers' beside a common one
            say(f"{given.name}: a track of sound in a format unknown to FFmpeg is left out.")
            continue
        sound[stream] = made.add_stream_from_template(stream)
        sound[stream].metadata.update(stream.metadata)
    made.metadata.update({k: v for k, v in given.metadata.items() if k not in _OF_THE_FILE})
    time = _clock(given)
    picture: Any = None
    waiting: list[Any] = []  # sound that comes before the first frame, which settles the size
    done = damaged = 0
    for packet in given.demux(video, *sound):
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
                picture = picture or _picture_stream(made, suffix, video, frame, pixels.shape)
                made.mux(picture.encode(_as_frame(derain(pixels), frame, time(frame), picture)))
                done += 1
                progress(done, video.frames)
        if picture is not None and waiting:
            made.mux(waiting)
            waiting = []
    if picture is None:
        raise ImageError(f"{given.name} holds no frame that can be decoded.")
    made.mux(picture.encode(None))
    if damaged:
        say(f"{given.name}: {damaged} damaged piece{'s' * (damaged > 1)} left out.")
    return done


def _clock(given: Any) -> Callable[[Any], int | None]:
    """When a frame is shown, in its own time base."""
    if given.format.name != "avi":
        return lambda frame: frame.pts
    # AVI tells when a packet is decoded. FFmpeg hands that out as the times of frames, in the order
    # of the packets, which with B-frames is not the frames'. The last frames have none at all.
    last: list[int] = []
    late = 0

    def time(frame: Any) -> int | None:
        nonlocal late
        if not last and frame.pts is not None and frame.dts is not None:
            late = frame.dts - frame.pts
        step = round(1 / (given.streams.video[0].average_rate * frame.time_base))
        following = last[-1] + step if last else frame.pts or 0
        last[:] = [following if frame.dts is None else max(following, frame.dts - late)]
        return last[0]

    return time


def _upright(frame: Any) -> NDArray[Any]:
    """(H, W, 3) uint8 RGB, turned as players turn what a phone held upright has filmed."""
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, _quarters(frame)))


def _quarters(frame: Any) -> int:
    return round(frame.rotation / 90)


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
    context.time_base = frame.time_base
    for name in ("colorspace", "color_primaries", "color_trc"):
        setattr(context, name, getattr(source, name))
    context.color_range = frame.color_range
    if frame.format.is_rgb:
        context.colorspace, context.color_range = _BT709, _LIMITED
    if shape_of_pixels := video.sample_aspect_ratio:
        turned = _quarters(frame) % 2 == 1
        context.sample_aspect_ratio = 1 / shape_of_pixels if turned else shape_of_pixels
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
