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


def derain_video(
    source: Path,
    target: Path,
    derain: Callable[[NDArray[Any]], NDArray[Any]],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Derain a video; the file is written whole or not at all.

    Every frame keeps its time, so variable frame rates stay; audio streams are copied as they are.
    The picture is encoded anew, as H.264 (as VP9 in .webm).

    Args:
        source: what FFmpeg can read.
        target: its suffix names the container.
        derain: (H, W, 3) uint8 RGB → the same.
        progress: is told how many frames are done, and how many there are, 0 if unknown.

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
        with whole(target) as part, av.open(str(source)) as given, av.open(str(part), "w") as made:
            return _transcode(given, made, target.suffix, derain, progress)
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
) -> int:
    if not given.streams.video:
        raise ImageError(f"{given.name} holds no video.")
    video = given.streams.video[0]
    video.thread_type = "AUTO"
    sound = {stream: made.add_stream_from_template(stream) for stream in given.streams.audio}
    picture: Any = None
    waiting: list[Any] = []  # sound that comes before the first frame, which settles the size
    done = 0
    for packet in given.demux(video, *sound):
        if packet.stream in sound:
            if packet.dts is not None:
                packet.stream = sound[packet.stream]
                waiting.append(packet)
        else:
            for frame in packet.decode():
                pixels = _upright(frame)
                picture = picture or _picture_stream(made, suffix, video, frame, pixels.shape)
                made.mux(picture.encode(_as_frame(derain(pixels), frame, picture)))
                done += 1
                progress(done, video.frames)
        if picture is not None and waiting:
            made.mux(waiting)
            waiting = []
    if picture is None:
        raise ImageError(f"{given.name} holds no frame that can be decoded.")
    made.mux(picture.encode(None))
    return done


def _upright(frame: Any) -> NDArray[Any]:
    """(H, W, 3) uint8 RGB, turned as players turn what a phone held upright has filmed."""
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


def _picture_stream(made: Any, suffix: str, video: Any, frame: Any, shape: tuple[int, ...]) -> Any:
    stream = made.add_stream(_CODECS.get(suffix, "libx264"), rate=video.average_rate)
    stream.height, stream.width = shape[:2]
    # Half the colour resolution, as players expect it, needs even sizes.
    even = stream.height % 2 == 0 and stream.width % 2 == 0
    stream.pix_fmt = "yuv420p" if even else "yuv444p"
    stream.options = dict(_QUALITY) if suffix not in _CODECS else {"crf": "20", "b": "0"}
    stream.codec_context.time_base = frame.time_base
    for name in ("color_range", "colorspace", "color_primaries", "color_trc"):
        setattr(stream.codec_context, name, getattr(video.codec_context, name))
    return stream


def _as_frame(pixels: NDArray[Any], like: Any, stream: Any) -> Any:
    import av

    rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    frame = rgb.reformat(format=stream.pix_fmt, dst_colorspace=like.colorspace)
    frame.pts, frame.time_base = like.pts, like.time_base
    return frame
