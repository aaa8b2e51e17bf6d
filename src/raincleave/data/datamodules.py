"""The DataModules: one for each benchmark, one for folders of your own, one that renders rain.

A benchmark's class says what sets it apart: its layouts, its numbers of pairs, where to fetch it.
Nothing is downloaded; a missing folder gets a message with the official page.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from raincleave.data.audit import mistaken
from raincleave.data.base import RainDataModule, split_scenes
from raincleave.data.fingerprints import fingerprints, scene_numbers
from raincleave.data.layouts import LAYOUTS, Found, find_pairs
from raincleave.data.pairs import Pair, RainPairs, RainyImages, image_files
from raincleave.data.synthetic import SyntheticRain
from raincleave.errors import DataError

__all__ = [
    "PairedFolders",
    "PairedRain",
    "Rain12",
    "Rain13K",
    "Rain100H",
    "Rain100L",
    "Rain200H",
    "Rain200L",
    "Rain800",
    "Rain1200",
    "Rain1400",
    "RainDataModule",
    "SPAData",
    "SyntheticRain",
]

# Reading more clean images than this to tell their scenes apart would take minutes.
_MOST_READ = 20_000


class Part(NamedTuple):
    """The training or the test part of a benchmark.

    Attributes:
        layouts: names of the rows of `LAYOUTS` it comes in.
        counts: its published numbers of pairs; any where empty.
        folders: names it may have below the root; the root itself where none is there.
    """

    layouts: tuple[str, ...]
    counts: tuple[int, ...] = ()
    folders: tuple[str, ...] = ()


class PairedRain(RainDataModule):
    """Base of the DataModules of pairs; see `RainDataModule` for the arguments.

    The validation pairs are held-out scenes of the training part. Scenes are told apart by what
    their clean images show, not by name; above 20,000 pairs by the clean file's name.
    """

    page: ClassVar[str] = ""
    fetch: ClassVar[str] = ""
    train: Part | None
    test: Part

    def setup(self, stage: str) -> None:
        """Find the pairs of the part that the stage needs."""
        if stage in ("fit", "validate"):
            pairs = with_scenes(self._training_pairs())
            held_out = split_scenes([p.scene for p in pairs], self.val_fraction, self.seed)
            self.val_set = RainPairs([p for p in pairs if p.scene in held_out])
            if stage == "fit":
                training = [p for p in pairs if p.scene not in held_out]
                self.train_set = RainPairs(training, **self.patching)
        else:
            self.test_set = RainPairs(self._test_pairs())

    def _training_pairs(self) -> list[Pair]:
        title, part = type(self).__name__, type(self).train
        if part is None:
            raise DataError(f"{title} has no training pairs; train on another dataset.")
        pairs: list[Pair] = []
        for root in self.roots:
            found = self._find(root, part)
            count = len(found.pairs)
            if count in self.test.counts and count not in part.counts and found.root == root:
                raise DataError(
                    f"{root} holds the {count} test pairs of {title}; training on them would make "
                    f"every score worthless. For training, fetch {self.fetch} from {self.page}."
                )
            pairs += found.pairs
        return self._without_excluded(pairs, lambda pair: pair.name)

    def _test_pairs(self) -> list[Pair]:
        pairs: list[Pair] = []
        for number, root in enumerate(self.roots, 1):
            found = self._find(root, self.test)
            if self.test.counts and len(found.pairs) not in self.test.counts:
                wanted = " or ".join(f"{count:,}" for count in self.test.counts)
                raise DataError(
                    f"{found.root} holds {len(found.pairs):,} pairs, but {type(self).__name__} is "
                    f"tested on {wanted}; fetch it again from {self.page}, or use PairedFolders."
                )
            # Names are of one folder; several have 1.png each.
            of = f"{number}_" if len(self.roots) > 1 else ""
            pairs += [pair._replace(name=f"{of}{pair.name}") for pair in found.pairs]
        return pairs

    def _find(self, root: Path, part: Part) -> Found:
        """Find one part below a root.

        Raises:
            DataError: it is missing, incomplete, or laid out like something else.
        """
        title = type(self).__name__
        rows = [layout for layout in LAYOUTS if layout.name in part.layouts]
        examples = "; or ".join(layout.example for layout in rows)
        if not root.is_dir():
            fetch = f"fetch {self.fetch} from {self.page}, and " if self.fetch else ""
            raise DataError(f"There is no folder {root}; {fetch}lay it out as {examples}.")
        below = (root / name for name in part.folders)
        found = find_pairs(next((folder for folder in below if folder.is_dir()), root))
        if found.layout not in rows:
            raise DataError(
                f"{found.root} is laid out like {found.layout.name}, but this part of {title} "
                f"comes as {examples}; fetch {self.fetch} from {self.page}."
            )
        if problem := mistaken(found, title):
            raise DataError(problem)
        return found


def with_scenes(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs, with the same ``scene`` wherever their clean images show the same."""
    pictures = list(dict.fromkeys(pair.clean for pair in pairs))
    if len(pictures) > _MOST_READ:
        return list(pairs)
    numbers = dict(zip(pictures, scene_numbers(fingerprints(pictures)), strict=True))
    names = {pair.clean: pair.scene for pair in pairs}
    return [pair._replace(scene=names[pictures[numbers[pair.clean]]]) for pair in pairs]


class PairedFolders(PairedRain):
    """Pairs of your own: two folders with the same file names, or any layout raincleave reads.

    Training and test pairs may lie in ``train`` and ``test``; otherwise all pairs serve both, and
    a share is held out for validation. Prediction also takes a folder of rainy images alone.
    """

    train = Part(tuple(layout.name for layout in LAYOUTS), folders=("train", "training"))
    test = Part(tuple(layout.name for layout in LAYOUTS), folders=("test", "testing"))

    def setup(self, stage: str) -> None:
        """Find the pairs, or for prediction the rainy images."""
        if stage == "predict" and (photos := self._lone_photos()):
            self.test_set = RainyImages(photos)
        else:
            super().setup(stage)

    def _lone_photos(self) -> list[Path]:
        if any(self._has_pairs(root) for root in self.roots):
            return []
        folders = [root for root in self.roots if root.is_dir()]
        return [photo for folder in folders for photo in image_files(folder)]

    def _has_pairs(self, root: Path) -> bool:
        try:
            self._find(root, self.test)
        except DataError:
            return False
        return True


class Rain100H(PairedRain):
    """Heavy rain, 2017 edition: 100 test pairs, trained on RainTrainH (Yang et al., CVPR 2017)."""

    page = "https://github.com/csdwren/PReNet"
    fetch = "Rain100H (2017, 100 pairs) and RainTrainH (1,800 pairs)"
    train = Part(("RainTrainH/RainTrainL",), (1800, 1254), ("RainTrainH", "train"))
    test = Part(("Rain100H/Rain100L",), (100,), ("Rain100H", "test"))


class Rain100L(PairedRain):
    """Light rain, 2017 edition: 100 test pairs, trained on RainTrainL (Yang et al., CVPR 2017)."""

    page = "https://github.com/csdwren/PReNet"
    fetch = "Rain100L (2017, 100 pairs) and RainTrainL (200 pairs)"
    train = Part(("RainTrainH/RainTrainL",), (200,), ("RainTrainL", "train"))
    test = Part(("Rain100H/Rain100L",), (100,), ("Rain100L", "test"))


class Rain200H(PairedRain):
    """Heavy rain, 2019 edition: 1,800 training and 200 test pairs (Yang et al., TPAMI 2019)."""

    page = "https://www.icst.pku.edu.cn/struct/Projects/joint_rain_removal.html"
    fetch = "Rain100H (the page's name for the 2019 edition)"
    train = Part(("Rain200H/Rain200L", "two folders"), (1800,), ("rain_data_train_Heavy", "train"))
    test = Part(("Rain200H/Rain200L", "two folders"), (200,), ("rain_data_test_Heavy", "test"))


class Rain200L(PairedRain):
    """Light rain, 2019 edition: 1,800 training and 200 test pairs (Yang et al., TPAMI 2019)."""

    page = "https://www.icst.pku.edu.cn/struct/Projects/joint_rain_removal.html"
    fetch = "Rain100L (the page's name for the 2019 edition)"
    train = Part(("Rain200H/Rain200L", "two folders"), (1800,), ("rain_data_train_Light", "train"))
    test = Part(("Rain200H/Rain200L", "two folders"), (200,), ("rain_data_test_Light", "test"))


class Rain12(PairedRain):
    """Twelve test pairs (Li et al., CVPR 2016)."""

    page = "https://yu-li.github.io"
    fetch = "the data of 'Rain Streak Removal Using Layer Priors'"
    train = None
    test = Part(("Rain12", "two folders"), (12,))


class Rain800(PairedRain):
    """700 training and 100 test pairs (Zhang et al., ID-CGAN)."""

    page = "https://github.com/hezhangsprinter/ID-CGAN"
    fetch = "the folder 'rain' with training and test_syn"
    train = Part(("side by side", "two folders"), (700,), ("training", "train"))
    test = Part(("side by side", "two folders"), (100,), ("test_syn", "test"))


class Rain1400(PairedRain):
    """14 rainy images to each clean one, 12,600 to train and 1,400 to test (Fu et al., DDN)."""

    page = "https://xueyangfu.github.io/projects/cvpr2017.html"
    fetch = "the training and testing data"
    train = Part(("Rain1400",), (12600,), ("training", "train", "rainy_image_dataset/training"))
    test = Part(("Rain1400",), (1400,), ("testing", "test", "rainy_image_dataset/testing"))


class Rain1200(PairedRain):
    """Three densities, 12,000 training and 1,200 test pairs (Zhang and Patel, DID-MDN)."""

    page = "https://github.com/hezhangsprinter/DID-MDN"
    fetch = "DID-MDN-training and DID-MDN-test"
    train = Part(("Rain1200",), (12000,), ("DID-MDN-training", "train"))
    test = Part(("side by side", "Rain1200", "two folders"), (1200,), ("DID-MDN-test", "test"))


class SPAData(PairedRain):
    """Real rain from videos, 638,492 training and 1,000 test pairs (Wang et al., SPANet)."""

    page = "https://stevewongv.github.io/derain-project.html"
    fetch = "the training patches and the test set of 1,000"
    train = Part(("SPA-Data", "two folders"), (638492,), ("train", "training"))
    test = Part(("SPA-Data", "two folders"), (1000,), ("test", "testing"))


class Rain13K(PairedRain):
    """The mixed training set of 13,711 pairs and its five test sets (Jiang et al., MSPFN).

    Args:
        root: folder with ``train`` and ``test``.
        test_set: which of the test sets is tested.
        **options: `RainDataModule`'s arguments.
    """

    page = "https://github.com/swz30/MPRNet"
    fetch = "Rain13K's train and test folders"
    train = Part(("two folders",), (13711, 13712), ("train/Rain13K", "train"))
    test = Part(("two folders",), (100, 1200, 2800))

    def __init__(
        self,
        root: str | Path | list[str],
        test_set: Literal["Test100", "Rain100H", "Rain100L", "Test1200", "Test2800"] = "Test100",
        **options: Any,
    ) -> None:
        super().__init__(root, **options)
        self.test = self.test._replace(folders=(f"test/{test_set}", test_set))
