"""Load, derain, save: the shortest way through raincleave.

    python examples/quickstart.py                      # examples/rainy.png -> derained.png
    python examples/quickstart.py photo.jpg dry.jpg    # a photo of yours

The weights lie in the package.
"""

import argparse
from pathlib import Path

from raincleave import load
from raincleave.inference.files import save

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("source", nargs="?", default=Path(__file__).with_name("rainy.png"))
parser.add_argument("target", nargs="?", default="derained.png")
args = parser.parse_args()

model = load("drn-7x7")
clean = model.derain(args.source)  # a path or Pillow image in, a Pillow image out
save(clean, args.target)  # whole, with EXIF and colour profile, and little loss; or Pillow's own
print(f"wrote {args.target}, {clean.width}x{clean.height} pixels")
