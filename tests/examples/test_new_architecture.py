from pathlib import Path

import pytest
import torch
from PIL import Image

from raincleave import load
from raincleave.commands.lightning import main

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def _on_the_path(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.chdir(tmp_path)


def test_it_trains_derains_saves_and_loads(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["new_architecture.py"])
    import new_architecture  # imported, so that there is one class of that name

    new_architecture.main()
    assert capsys.readouterr().out.endswith("the same result: True\n")
    assert Image.open(tmp_path / "sieve.png").size == (480, 320)


def test_everything_else_works_with_it():
    from new_architecture import Sieve

    torch.manual_seed(0)
    model = Sieve().eval()
    rainy = torch.rand(3, 50, 70)
    whole = model.derain(rainy)
    # s sees 1 + 2 + 1 pixels far, three times.
    torch.testing.assert_close(model.derain(rainy, tile=32, halo=12), whole)
    assert (model.derain(rainy, tile=32, halo=2) - whole).abs().max() > 1e-4
    assert model.derain(rainy, stages="auto").shape == rainy.shape


def test_the_command_line_takes_both_by_their_dotted_names(pairs, tmp_path):
    for photo in (pairs / "rainy").glob("*.png"):
        camera = tmp_path / "cameras" / photo.stem
        camera.mkdir(parents=True)
        photo.rename(camera / "wet-1.png")
        (pairs / "clean" / photo.name).rename(camera / "dry.png")
    data = ["--data.root", "cameras", "--data.batch_size", "2", "--data.patch_size", "16"]
    options = ["--trainer.max_steps", "1", "--trainer.enable_progress_bar", "false"]
    main(
        [
            "fit",
            "--model=new_architecture.Sieve",
            "--model.stages=2",
            "--data=new_layout.Cameras",
            "--data.num_workers=0",
            *data,
            *options,
        ]
    )
    (weights,) = tmp_path.glob("lightning_logs/version_0/weights.safetensors")
    model = load(weights)
    assert type(model).__module__ == "new_architecture"
    assert model.hparams["stages"] == 2
