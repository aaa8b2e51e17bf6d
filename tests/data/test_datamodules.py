"""The DataModules: right parts, no shared scenes, clear refusals, and a real Trainer's loops."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from jsonargparse import ArgumentParser
from lightning import LightningModule, Trainer

from raincleave.benchmarks import find_dataset
from raincleave.data import datamodules
from raincleave.data.base import split_scenes
from raincleave.data.datamodules import (
    PairedFolders,
    Rain12,
    Rain13K,
    Rain100H,
    Rain100L,
    Rain1400,
    SPAData,
    SyntheticRain,
)
from raincleave.data.layouts import LAYOUTS, Found
from raincleave.data.noise import GaussianNoise
from raincleave.data.pictures import image_files
from raincleave.errors import ConfigError, DataError

# Benchmark, (training folder, layout), (test folder, layout).
BENCHMARKS = [
    ("Rain100H", ("RainTrainH", "RainTrain"), ("Rain100H", "Rain100")),
    ("Rain100L", ("train", "RainTrain"), ("test", "Rain100")),
    ("Rain200H", ("rain_data_train_Heavy", "Rain200 X2"), ("rain_data_test_Heavy", "Rain200")),
    ("Rain200L", ("train", "Rain200"), ("test", "Rain200 X2")),
    ("Rain800", ("training", "Rain800"), ("test_syn", "Rain800 folders")),
    ("Rain1400", ("training", "Rain1400"), ("testing", "Rain1400")),
    ("Rain1200", ("DID-MDN-training", "Rain1200"), ("DID-MDN-test", "Rain800")),
    ("SPAData", ("train", "SPA list"), ("test", "SPA numbers")),
    ("Rain13K", ("train", "Rain13K"), ("test/Test100", "Rain13K")),
    ("PairedFolders", ("train", "own folders"), ("test", "own folders")),
]
TINY = {"patch_size": 16, "batch_size": 2, "num_workers": 0, "val_fraction": 0.34}


class TinyNet(LightningModule):
    """One convolution, and a record of what it was shown."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 3, 3, padding=1)
        self.seen = {"fit": [], "val": [], "test": []}

    def step(self, kind, batch):
        self.seen[kind] += zip(batch["name"], batch["rainy"].clone(), strict=True)
        return (self.conv(batch["rainy"]) - batch["clean"]).square().mean()

    def training_step(self, batch, batch_idx):
        return self.step("fit", batch)

    def validation_step(self, batch, batch_idx):
        self.step("val", batch)

    def test_step(self, batch, batch_idx):
        self.step("test", batch)

    def predict_step(self, batch, batch_idx):
        return batch["name"][0], self.conv(batch["rainy"]).shape

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def _trainer(tmp_path, epochs=1):
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        num_sanity_val_steps=0,
    )


@pytest.fixture
def photos(tmp_path, scene, write):
    for number in range(6):
        write(tmp_path / f"photos/{number}.png", scene(number))
    return str(tmp_path / "photos")


@pytest.mark.parametrize("row", BENCHMARKS, ids=[row[0] for row in BENCHMARKS])
def test_parts(tmp_path, build, monkeypatch, row):
    name, train, test = row
    benchmark = getattr(datamodules, name)
    monkeypatch.setattr("raincleave.data.audit._HEAVY", 4.0 if name.endswith("H") else 20.0)
    trained = build(tmp_path / train[0], train[1])
    tested = build(tmp_path / test[0], test[1])
    if benchmark.test.counts:
        monkeypatch.setattr(benchmark, "test", benchmark.test._replace(counts=(len(tested),)))
    module = benchmark(str(tmp_path), **TINY)
    module.setup("fit")
    module.setup("test")
    learnt, held = module.train_set.pairs, module.val_set.pairs
    files = {pair.rainy.path for pair in learnt + held}
    assert files == {tmp_path / train[0] / rainy for rainy, _ in trained}
    assert held
    assert not {p.scene for p in learnt} & {p.scene for p in held}
    assert not {p.clean for p in learnt} & {p.clean for p in held}
    assert {p.rainy.path for p in module.test_set.pairs} == {
        tmp_path / test[0] / rainy for rainy, _ in tested
    }
    batch = next(iter(module.train_dataloader()))
    assert batch["rainy"].shape == batch["clean"].shape == (2, 3, 16, 16)
    assert (batch["rainy"] - batch["clean"]).mean() > 0
    for loader in (module.val_dataloader, module.test_dataloader, module.predict_dataloader):
        assert next(iter(loader()))["rainy"].shape == (1, 3, 40, 48)


def test_heavy_and_light_sets_are_told_apart(tmp_path, build, monkeypatch):
    build(tmp_path, "Rain100")
    with pytest.raises(DataError, match="is not Rain100H but Rain100L, by its rain, which adds 5"):
        Rain100H(tmp_path).setup("test")
    monkeypatch.setattr("raincleave.data.audit._HEAVY", 4.0)
    with pytest.raises(DataError, match="is not Rain100L but Rain100H"):
        Rain100L(tmp_path).setup("test")
    for name, message in [("rain100l", "but Rain100H"), ("Rain100", "is not Rain100: it was")]:
        with pytest.raises(DataError, match=message):
            find_dataset(tmp_path, name)
    assert find_dataset(tmp_path, "Rain100H").name.startswith("Rain100H (")


def test_light_rain_is_not_trained_on_for_heavy(tmp_path, build):
    build(tmp_path, "RainTrain")
    with pytest.raises(DataError, match="is not RainTrainH but RainTrainL, by its rain"):
        Rain100H(tmp_path, patch_size=16).setup("fit")
    Rain100L(tmp_path, patch_size=16).setup("fit")


def test_a_dataset_goes_by_its_other_names(tmp_path, monkeypatch):
    layout = next(layout for layout in LAYOUTS if layout.name == "Rain1400")
    found = Found(tmp_path, layout, [None] * 1400, [])
    monkeypatch.setattr("raincleave.benchmarks.scan", lambda folder: found)
    assert "(DDN)" in found.version
    for name in ("Rain1400", "rain-1400", "DDN"):
        assert find_dataset(tmp_path, name).root == tmp_path
    with pytest.raises(DataError, match="is not set"):
        find_dataset(tmp_path, "set")


def test_published_counts_are_asked_for(tmp_path, build, monkeypatch):
    monkeypatch.setattr("raincleave.data.audit._HEAVY", 4.0)
    build(tmp_path, "Rain100")
    with pytest.raises(DataError, match="holds 3 pairs, but Rain100H is tested on 100"):
        Rain100H(tmp_path).setup("test")
    PairedFolders(tmp_path).setup("test")
    build(tmp_path / "14", "Rain1400")
    with pytest.raises(DataError, match="holds 28 pairs, but Rain1400 is tested on 1,400"):
        Rain1400(tmp_path / "14").setup("test")


def test_test_pairs_are_not_trained_on(tmp_path, build, monkeypatch):
    build(tmp_path, "SPA numbers")
    monkeypatch.setattr(SPAData, "test", SPAData.test._replace(counts=(3,)))
    with pytest.raises(DataError, match="holds the 3 test pairs of SPAData"):
        SPAData(tmp_path).setup("fit")
    build(tmp_path / "100", "Rain100")
    with pytest.raises(DataError, match=r"comes as norain-1\.png and rain-1\.png; fetch Rain100H"):
        Rain100H(tmp_path / "100").setup("fit")
    with pytest.raises(DataError, match="Rain12 has no training pairs"):
        Rain12(tmp_path).setup("fit")


def test_missing_folder_says_what_to_fetch(tmp_path):
    for name, *_ in BENCHMARKS[:-1]:
        benchmark = getattr(datamodules, name)
        with pytest.raises(DataError) as caught:
            benchmark(tmp_path / "nowhere").setup("test")
        for part in ("nowhere", benchmark.page, benchmark.fetch, "lay it out as"):
            assert part in str(caught.value)


def test_rain13k_chooses_a_test_set(tmp_path, build, monkeypatch):
    for name in ("Test100", "Test2800"):
        build(tmp_path / "test" / name, "Rain13K")
    monkeypatch.setattr(Rain13K, "test", Rain13K.test._replace(counts=(3,)))
    module = Rain13K(tmp_path, test_set="Test2800")
    module.setup("test")
    assert {p.clean.path.parts[-3] for p in module.test_set.pairs} == {"Test2800"}


def test_copies_of_a_scene_stay_together(tmp_path, scene, rainy, write):
    """Eight scenes, three rainy images each, under numbers of their own, as RainTrainH has them."""
    for number in range(24):
        shown = scene(number % 8, 96, 72)
        write(tmp_path / f"norain-{number}.png", shown[number // 8 :])
        write(tmp_path / f"rain-{number}.png", rainy(shown, number)[number // 8 :])
    module = PairedFolders(tmp_path, **TINY)
    module.setup("fit")
    sides = [{int(p.name[5:]) % 8 for p in s.pairs} for s in (module.train_set, module.val_set)]
    assert len(sides[1]) == 3  # a third of eight scenes
    assert sides[0] | sides[1] == set(range(8))
    assert not sides[0] & sides[1]


def test_split_is_stable():
    scenes = [str(i) for i in range(40)]
    held = split_scenes(scenes, 0.25, seed=0)
    assert len(held) == 10
    assert held == split_scenes(scenes[::-1] * 2, 0.25, seed=0)
    assert held != split_scenes(scenes, 0.25, seed=1)
    assert len(held - split_scenes([*scenes, "new"], 0.25, seed=0)) <= 1
    assert split_scenes(scenes, 0, seed=0) == set()
    assert len(split_scenes(scenes, 0.001, seed=0)) == 1
    assert split_scenes(["only"], 0.5, seed=0) == set()


def test_excluded_names(tmp_path, build):
    build(tmp_path, "RainTrain")
    (tmp_path / "exclude.txt").write_text("rain-2\nrain-10\n")
    options = TINY | {"val_fraction": 0, "exclude": str(tmp_path / "exclude.txt")}
    module = PairedFolders(tmp_path, **options)
    module.setup("fit")
    assert [p.name for p in module.train_set.pairs] == ["rain-1"]
    module.setup("test")
    assert len(module.test_set.pairs) == 3, "the list is of training images"
    (tmp_path / "exclude.txt").write_text("rain-99\n")
    with pytest.raises(DataError, match=r"No image of .* is named in .*exclude\.txt"):
        module.setup("fit")
    (tmp_path / "exclude.txt").write_text("rain-1\nrain-2\nrain-10\n")
    with pytest.raises(DataError, match=r"All images of .* are named in .*exclude\.txt"):
        module.setup("fit")
    (tmp_path / "exclude.txt").write_bytes(b"\xe4\n")
    with pytest.raises(DataError, match=r"exclude\.txt cannot be read"):
        module.setup("fit")
    with pytest.raises(DataError, match=r"missing\.txt cannot be read"):
        PairedFolders(tmp_path, exclude="missing.txt").setup("fit")


def test_all_of_several_folders_are_tested(tmp_path, build):
    build(tmp_path / "a", "own folders")
    build(tmp_path / "b", "RainTrain")
    module = PairedFolders([str(tmp_path / "a"), str(tmp_path / "b")])
    module.setup("test")
    folders = {pair.rainy.path.relative_to(tmp_path).parts[0] for pair in module.test_set.pairs}
    assert folders == {"a", "b"}
    module.setup("predict")
    names = [module.test_set[k]["name"] for k in range(6)]
    assert len(set(names)) == 6
    assert names[0].startswith("1_")
    same = PairedFolders([str(tmp_path / "b"), str(tmp_path / "b")])
    same.setup("predict")
    assert len({same.test_set[k]["name"] for k in range(6)}) == 6
    image = module.test_set.pairs[0].rainy.path
    image.rename(tmp_path / image.name)
    mixed = PairedFolders([str(tmp_path / "b"), str(tmp_path)])
    with pytest.raises(DataError):  # not the lone photo alone, in silence
        mixed.setup("predict")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"root": []}, "root names no folder"),
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"patches_per_epoch": -1}, "patches_per_epoch is -1; it must be at least 1"),
        ({"num_workers": -1}, "num_workers is -1; it must be at least 0"),
        ({"seed": 12345678901}, "seed is 12345678901; it must be from 0 to 2147483647"),
        ({"val_fraction": 2}, r"val_fraction is 2; it must be at least 0 and below 1"),
        ({"preset": []}, "preset names no rain"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ConfigError, match=message):
        SyntheticRain(**{"root": "photos", **options})


def test_pairs_through_a_trainer(tmp_path, build):
    build(tmp_path / "data", "own folders")
    module, net = PairedFolders(str(tmp_path / "data"), patches_per_epoch=4, **TINY), TinyNet()
    _trainer(tmp_path, epochs=2).fit(net, datamodule=module)
    assert len(net.seen["fit"]) == 8
    assert len(net.seen["val"]) == 2
    patches = [image for _, image in net.seen["fit"]]
    assert not any(torch.equal(a, b) for a in patches[:4] for b in patches[4:])
    _trainer(tmp_path).validate(net, datamodule=module, verbose=False)
    _trainer(tmp_path).test(net, datamodule=module, verbose=False)
    assert [name for name, _ in net.seen["test"]] == ["street a", "street b", "street c"]
    assert len(_trainer(tmp_path).predict(net, datamodule=module)) == 3


def test_predict_takes_rainy_images_alone(tmp_path, scene, write):
    for number in range(2):
        write(tmp_path / f"holiday/{number}.jpg", scene(number))
    derained = _trainer(tmp_path).predict(
        TinyNet(), datamodule=PairedFolders(str(tmp_path / "holiday"), num_workers=0)
    )
    assert derained == [(str(k), (1, 3, 40, 48)) for k in range(2)]
    write(tmp_path / "holiday/1.png", scene(2))
    module = PairedFolders(str(tmp_path / "holiday"))
    module.setup("predict")
    assert [module.test_set[k]["name"] for k in range(3)] == ["0", "1.jpg", "1.png"]
    write(tmp_path / "other/1.png", scene(3))
    module = PairedFolders([str(tmp_path / "holiday"), str(tmp_path / "other")])
    module.setup("predict")
    names = [module.test_set[k]["name"] for k in range(4)]
    assert names == ["0", "1.jpg", "holiday_1.png", "other_1.png"]


def test_synthetic_rain_through_a_trainer(tmp_path, photos):
    options = TINY | {"patches_per_epoch": 4}
    module, net = SyntheticRain(photos, preset=["light", "heavy"], **options), TinyNet()
    _trainer(tmp_path, epochs=2).fit(net, datamodule=module)
    assert len(net.seen["fit"]) == 8
    first, second = net.seen["val"][:2], net.seen["val"][2:]
    for (name, rain), (same_name, same_rain) in zip(first, second, strict=True):
        assert name == same_name
        assert torch.equal(rain, same_rain)
    assert not {name for name, _ in net.seen["fit"]} & {name for name, _ in first}
    _trainer(tmp_path).test(net, datamodule=module, verbose=False)
    assert len(net.seen["test"]) == 6


def test_synthetic_rain_follows_the_seed(photos):
    def batches(**options):
        module = SyntheticRain(photos, **(TINY | options))
        module.setup("fit")
        return [module.on_after_batch_transfer(b, 0) for b in module.train_dataloader()]

    first, again, other = batches(), batches(num_workers=2), batches(seed=1)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a["rainy"], b["rainy"])
        assert (a["rainy"] - a["clean"]).mean() > 0
    assert not any(torch.equal(a["rainy"], b["rainy"]) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("kind", [SyntheticRain, GaussianNoise])
def test_another_seed_rains_otherwise_on_the_same_pictures(photos, kind):
    clean, numbers = torch.full((2, 3, 48, 48), 0.4), torch.tensor([7, 8])
    rainy = [
        kind(photos, seed=seed).on_after_batch_transfer({"clean": clean, "serial": at}, 0)["rainy"]
        for seed, at in ((0, numbers), (0, numbers), (1, numbers), (0, numbers + 1))
    ]
    assert torch.equal(rainy[0], rainy[1])
    assert not torch.equal(rainy[0], rainy[2])
    assert not torch.equal(rainy[0], rainy[3])


@pytest.mark.parametrize("augment", [True, False])
def test_patches_are_mirrored_and_turned_unless_told_otherwise(tmp_path, scene, write, augment):
    for folder in ("rainy", "clean"):
        for k in range(8):
            write(tmp_path / folder / f"{k}.png", scene(k)[..., :32, :32])
    options = {"patch_size": 32, "stride": 32, "val_fraction": 0, "num_workers": 0}
    data = PairedFolders(tmp_path, augment=augment, **options)
    data.setup("fit")
    plain = PairedFolders(tmp_path, augment=False, seed=5, **options)
    plain.setup("fit")
    same = [data.train_set[k]["clean"].equal(plain.train_set[k]["clean"]) for k in range(8)]
    assert all(same) != augment


def test_presets_take_turns(photos, monkeypatch):
    module = SyntheticRain(photos, preset=["light", "heavy", "real"], **TINY)
    for kind, renderer in enumerate(module.renderers):
        monkeypatch.setattr(renderer, "forward", partial(_Flat, kind))
    for first in range(3):
        batch = {"clean": torch.zeros(5, 3, 4, 4), "serial": torch.arange(first, first + 5)}
        rainy = module.on_after_batch_transfer(batch, 0)["rainy"]
        assert rainy[:, 0, 0, 0].tolist() == [(first + j) % 3 for j in range(5)]


def test_in_batches_of_one_a_photo_meets_every_preset(photos, monkeypatch):
    module = SyntheticRain(photos, preset=["light", "heavy"], **TINY)
    module.trainer = SimpleNamespace(training=True)
    for kind, renderer in enumerate(module.renderers):
        monkeypatch.setattr(renderer, "forward", partial(_Flat, kind))
    met = []
    for serial in range(0, 80, 2):  # of ten photos, the even ones
        batch = {"clean": torch.zeros(1, 3, 4, 4), "serial": torch.tensor([serial])}
        met.append(int(module.on_after_batch_transfer(batch, 0)["rainy"][0, 0, 0, 0]))
    assert 10 < sum(met) < 30


class _Flat:
    def __init__(self, kind, clean, generator):
        self.rainy = torch.full_like(clean, kind)


def test_textures_are_for_all_but_light(tmp_path, photos, build):
    build(tmp_path / "genuine", "RainTrain")
    module = SyntheticRain(photos, preset=["light", "heavy"], textures=str(tmp_path / "genuine"))
    assert [r.textures is not None for r in module.renderers] == [False, True]


def test_some_training_patches_stay_dry_but_none_of_validation(tmp_path, photos):
    class Counting(TinyNet):
        def step(self, kind, batch):
            dry = (batch["rainy"] == batch["clean"]).flatten(1).all(1)
            self.seen[kind] += dry.tolist()
            return self.conv(batch["rainy"]).square().mean()

    options = TINY | {"patches_per_epoch": 24}
    module, net = SyntheticRain(photos, dry_rate=0.5, **options), Counting()
    _trainer(tmp_path).fit(net, datamodule=module)
    assert len(net.seen["fit"]) == 24
    assert 4 < sum(net.seen["fit"]) < 20
    assert not any(net.seen["val"])
    with pytest.raises(ConfigError, match="dry_rate is a share from 0 to 1, not 2"):
        SyntheticRain(photos, dry_rate=2)
    with pytest.raises(ConfigError, match="texture_rate is a share from 0 to 1, not 67"):
        SyntheticRain(photos, texture_rate=67)


def test_synthetic_rain_refuses(tmp_path, photos):
    with pytest.raises(DataError, match="There is no folder"):
        SyntheticRain(str(tmp_path / "nowhere")).setup("fit")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        SyntheticRain(str(tmp_path / "empty")).setup("fit")
    with pytest.raises(ConfigError, match="there is no rain 'hevy'"):
        SyntheticRain(photos, preset="hevy")
    with pytest.raises(DataError, match="patch_size is 100"):
        SyntheticRain(photos).setup("fit")


def test_several_folders(tmp_path, photos, scene, write):
    write(tmp_path / "more/7.png", scene(7))
    module = SyntheticRain([photos, str(tmp_path / "more")])
    module.setup("test")
    assert len(module.test_set) == len(image_files(tmp_path / "photos")) + 1


@pytest.mark.parametrize("name", datamodules.__all__)
def test_command_line_arguments(name):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(getattr(datamodules, name), "data")
    args = ["--data.root=a", "--data.batch_size=4", "--data.patches_per_epoch=8", "--data.seed=3"]
    parsed = parser.parse_args(args)
    assert (parsed.data.root, parsed.data.batch_size, parsed.data.seed) == ("a", 4, 3)
    assert parser.parse_args(['--data.root=["a","b"]']).data.root == ["a", "b"]


def test_a_second_trainer_and_whoever_looks_are_given_whole_epochs(tmp_path, build):
    build(tmp_path, "own folders")
    module = PairedFolders(tmp_path, **TINY)
    _trainer(tmp_path).fit(TinyNet(), module)
    loader = module.train_dataloader()
    assert sum(1 for _ in loader) == len(loader) > 0
    second = _trainer(tmp_path)
    second.fit(TinyNet(), module.train_dataloader())
    assert second.global_step == len(loader)
