"""Load, derain, save: the shortest way through raincleave.

python examples/quickstart.py                      # examples/rainy.png -> derained.png
python examples/quickstart.py photo.jpg dry.jpg    # a photo of yours
"""

import sys
from pathlib import Path

from raincleave import load

source, target = sys.argv[1:] or [Path(__file__).with_name("rainy.png"), "derained.png"]

model = load("drn-7x7")  # from the package, no network needed
clean = model.derain(source)  # a path or Pillow image in, a Pillow image out
clean.save(target)
print(f"wrote {target}, {clean.width}x{clean.height} pixels")
