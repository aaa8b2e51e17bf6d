"""Export a network to ONNX, run it in ONNX Runtime without PyTorch, and compare.

    python examples/export_onnx.py [MODEL]        # pip install ".[onnx]"; writes derainer.onnx

`raincleave export drn-7x7 --to onnx` writes the same file; it takes any batch, height and width.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from PIL import Image

from raincleave import load
from raincleave.errors import ConfigError
from raincleave.export import export


def main():
    photo = Image.open(Path(__file__).with_name("rainy.png"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="drn-7x7")
    model, file = load(parser.parse_args().model), Path("derainer.onnx")
    try:
        worst = export(model, "onnx", file)
    except ConfigError as error:
        raise SystemExit(str(error)) from error
    print(f"wrote {file}, {file.stat().st_size / 1000:.0f} kB, off by {worst:.1g} at most in tests")

    import onnxruntime  # nothing from here on needs PyTorch

    session = onnxruntime.InferenceSession(file)
    rainy = np.asarray(photo, np.float32) / 255
    batch = {session.get_inputs()[0].name: rainy.transpose(2, 0, 1)[None]}
    start = time.perf_counter()
    (clean,) = session.run(None, batch)
    onnx_seconds = time.perf_counter() - start
    pixels = (clean[0].transpose(1, 2, 0).clip(0, 1) * 255).round().astype(np.uint8)

    start = time.perf_counter()
    ours = np.asarray(model.derain(photo))
    seconds = time.perf_counter() - start
    differ = np.abs(pixels.astype(int) - ours)
    print(f"ONNX Runtime {onnx_seconds:.2f} s, PyTorch {seconds:.2f} s")
    print(f"{(differ > 0).mean():.2%} of the values differ, the worst by {differ.max()}/255")


if __name__ == "__main__":
    main()
