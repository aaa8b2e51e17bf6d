"""A dataset laid out in a way of its own: say how the files pair up, and train or evaluate with it.

    python examples/new_layout.py            # makes such a folder of the photographs, and scores it

Here one folder is one camera, ``CAMERA/dry.png`` its clean image and ``CAMERA/wet-1.png`` and so on
the same scene in rain. With this folder on the Python path the command line takes it too:

    PYTHONPATH=examples raincleave fit --data new_layout.Cameras --data.root FOLDER

Two folders with the same file names, and the layouts of the benchmarks, need none of this:
`raincleave.data.layouts.find_pairs` recognises them.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from PIL import Image

from raincleave.data.base import RainDataModule, split_scenes
from raincleave.data.pairs import Pair, Picture, RainPairs
from raincleave.data.synthesis import RainRenderer
from raincleave.evaluation import read_only, score_pairs
from raincleave.inference.images import to_tensor


def camera_pairs(root):
    """All pairs below ``root``; those of one camera share the scene, which no split divides."""
    return [
        Pair(f"{wet.parent.name}_{wet.stem}", Picture(wet), Picture(dry), scene=dry.parent.name)
        for dry in sorted(Path(root).glob("*/dry.png"))
        for wet in sorted(dry.parent.glob("wet-*.png"))
    ]


class Cameras(RainDataModule):
    """The layout above for `raincleave fit`; a tenth of the cameras validates."""

    def setup(self, stage: str) -> None:
        """Find the pairs; cameras held out for validation are not trained on."""
        pairs = camera_pairs(self.roots[0])
        held_out = split_scenes([p.scene for p in pairs], self.val_fraction, self.seed)
        training = [p for p in pairs if p.scene not in held_out]
        self.train_set = RainPairs(training, **self.patching)
        self.val_set = RainPairs([p for p in pairs if p.scene in held_out])
        self.test_set = RainPairs(pairs)


def make_folder(root, rains=2, size=160):
    """Three cameras with the middle of a photograph each, in two rains."""
    renderer = RainRenderer("light", generator=torch.Generator().manual_seed(0))
    for photo in sorted(Path(__file__).with_name("photos").glob("*.jpg")):
        tensor, as_picture = to_tensor(Image.open(photo).resize((size * 3 // 2, size)))
        folder = Path(root, photo.stem)
        folder.mkdir()
        as_picture(tensor).save(folder / "dry.png")
        for k in range(1, rains + 1):
            as_picture(renderer(tensor).rainy).save(folder / f"wet-{k}.png")


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    with tempfile.TemporaryDirectory() as root:
        make_folder(root)
        pairs = camera_pairs(root)
        data = Cameras(root, batch_size=4, patch_size=64, num_workers=0)
        data.setup("fit")
        trained = sorted({p.scene for p in data.train_set.pairs})
        print(f"{len(pairs)} pairs; training on {', '.join(trained)}")
        scores = score_pairs(pairs, read_only, {"csdwren": "csdwren"})["csdwren"]
    for image in scores.images:
        print(f"{image.name:16}{image.input.psnr:6.2f} dB {image.input.ssim:.3f}")


if __name__ == "__main__":
    main()
