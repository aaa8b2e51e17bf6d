"""A folder of pictures and a video clip, from Python.

    python examples/folder_and_video.py photos/ dry/ --clip clip.mp4
    python examples/folder_and_video.py            # the example photographs, and a clip made of one

`raincleave derain photos/ clip.mp4 -o dry/` does the same. Videos need PyAV, pip install
".[video]"; a frame is derained like a picture, without regard to its neighbours.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from PIL import Image

from raincleave import load
from raincleave.data.pictures import image_files_of
from raincleave.data.synthesis import RainRenderer
from raincleave.errors import ConfigError
from raincleave.inference import files
from raincleave.inference.images import to_tensor
from raincleave.inference.video import derain_video

PHOTOS = Path(__file__).with_name("photos")


def make_clip(path, frames=3):
    """A still photograph in falling rain, 180x120 pixels, at 8 frames a second."""
    import av

    clean, as_picture = to_tensor(Image.open(PHOTOS / "dogs.jpg").resize((180, 120)))
    rain = RainRenderer("light", generator=torch.Generator().manual_seed(0))
    with av.open(str(path), "w") as clip:
        stream = clip.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 180, 120, "yuv420p"
        for _ in range(frames):
            picture = as_picture(rain(clean).rainy)
            clip.mux(stream.encode(av.VideoFrame.from_image(picture)))
        clip.mux(stream.encode(None))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=PHOTOS)
    parser.add_argument("output", type=Path, nargs="?", default="dry")
    parser.add_argument("--clip", type=Path)
    args = parser.parse_args()
    args.output.mkdir(exist_ok=True)
    model = load("drn-7x7")

    for photo in image_files_of(args.folder, "photos"):
        files.save(model.derain(photo), args.output / photo.name)  # keeps EXIF, little loss
        print(f"wrote {args.output / photo.name}")

    with tempfile.TemporaryDirectory() as scratch:
        try:
            if args.clip is None:
                args.clip = Path(scratch, "clip.mp4")
                make_clip(args.clip)
            frames = derain_video(args.clip, args.output / args.clip.name, model.derain)
        except (ConfigError, ImportError) as error:
            raise SystemExit(f"no video: {error}") from error
    print(f"wrote {args.output / args.clip.name}, {frames} frames")


if __name__ == "__main__":
    main()
