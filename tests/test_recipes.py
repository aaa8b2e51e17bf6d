"""Every packaged recipe starts, trains a batch and validates one."""

from pathlib import Path

import pytest
import yaml
from PIL import Image

from raincleave.cli import run
from raincleave.commands.lightning_arguments import FINE_TUNING, recipes

SMALLER = {
    "DRN": ["--model.stages=2", "--model.recursions=1", "--model.channels=4"],
    "SRN": ["--model.stages=2", "--model.res_blocks=1"],
    "BRN": ["--model.stages=2"],
    "ResGuideNet": ["--model.blocks=2", "--model.recursions=1", "--model.channels=4"],
    "RRANet": ["--model.stages=2", "--model.width=4", "--model.window=5"],
}
QUICK = [
    "--data.patch_size=24",
    "--data.batch_size=2",
    "--data.num_workers=0",
    "--trainer.fast_dev_run=true",
    "--trainer.enable_progress_bar=false",
    "--trainer.accelerator=cpu",
]


def recipe(name: str) -> tuple[str, dict]:
    import raincleave

    text = (Path(raincleave.__file__).parent / "recipes" / f"{name}.yaml").read_text("utf-8")
    return text, yaml.safe_load(text)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """RainTrainH and RainTrainL in small: three pairs, whose folder is also one of plain photos."""
    root = tmp_path_factory.mktemp("sets")
    for folder, rain in ((root / "RainTrainH", 30), (root / "RainTrainL", 10)):
        folder.mkdir()
        for number in (1, 2, 3):
            image = Image.radial_gradient("L").resize((40, 48)).rotate(40 * number).convert("RGB")
            image.save(folder / f"norain-{number}.png")
            wet = image.point([min(255, value + rain) for value in range(256)] * 3)
            wet.save(folder / f"rain-{number}.png")
    return root


@pytest.mark.parametrize("name", [name for name in recipes() if name != FINE_TUNING])
def test_a_recipe_runs(name, photos, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    _, config = recipe(name)
    smaller = SMALLER[config["model"]["class_path"]]
    folder = photos / ("RainTrainL" if name.endswith("light") else "RainTrainH")
    words = ["fit", f"--config=recipe:{name}", f"--data.root={folder}", *smaller, *QUICK]
    assert run(words) == 0, capsys.readouterr().err
    assert not any(tmp_path.iterdir()), "fast_dev_run leaves nothing behind"


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_says_what_it_is_in_a_comment(name):
    text, _ = recipe(name)
    comment = " ".join(line[2:] for line in text.splitlines() if line.startswith("# "))
    assert "section" in comment or "our own" in comment or name == FINE_TUNING


def test_the_published_trainings_are_all_there():
    published = {f"drn-{n}x{n}-heavy" for n in (5, 6, 7, 8)} | {"drn-7x7-light"}
    published |= {"srn-6", "srn-lstm-6", "srn-gru-6", "srn-x-6", "srn-plus-6"}
    published |= {"brn-6", "crn-6", "brn-rx-6", "brn-xr-6", "brn-gru-6", "rranet", "resguidenet"}
    published |= {f"resguidenet-denoise-{sigma}" for sigma in (10, 30, 70)}
    assert published | {"drn-7x7", FINE_TUNING} == set(recipes())


@pytest.mark.parametrize(
    ("name", "batch", "patch", "gamma"),
    [("drn-7x7-heavy", 16, 100, 0.5), ("srn-6", 18, 100, 0.2), ("brn-6", 12, 100, 0.2)],
)
def test_the_numbers_are_the_papers(name, batch, patch, gamma):
    _, config = recipe(name)
    data, rate = config["data"]["init_args"], config["lr_scheduler"]["init_args"]
    assert (data["batch_size"], data["patch_size"]) == (batch, patch)
    assert rate == {"milestones": [30, 50, 80], "gamma": gamma}
    assert config["trainer"]["max_epochs"] == 100
    assert config["optimizer"]["init_args"]["lr"] == 1e-3


@pytest.mark.parametrize("sigma", [10, 30, 70])
def test_the_denoiser_sees_the_published_noise(sigma):
    _, config = recipe(f"resguidenet-denoise-{sigma}")
    assert config["data"]["class_path"] == "GaussianNoise"
    assert config["data"]["init_args"]["sigma"] == sigma
    assert config["trainer"]["max_steps"] == 50_000
