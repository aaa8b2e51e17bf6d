"""``raincleave fit | validate | test | predict``, in process on tiny pictures."""

import csv
import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from safetensors.torch import load_file

from raincleave import load
from raincleave.cli import run
from raincleave.inference import memory
from raincleave.models import DRN, SRN
from raincleave.training import CurvesInText

RUN = Path("lightning_logs/version_0")
TINY = ["--model=DRN", "--model.stages=1", "--model.recursions=1", "--model.channels=4"]
QUIET = ["--trainer.enable_progress_bar=false"]
SMALL = ["--data.patch_size=24", "--data.batch_size=2", "--data.num_workers=0"]
FLOAT = ["--trainer.accelerator=cpu", "--trainer.precision=32"]
EMA = ["--trainer.callbacks+=WarmupEMA", "--trainer.callbacks.decay=0.8"]
ADAM = ["--optimizer=Adam", "--optimizer.lr=0.01", "--lr_scheduler=WarmupCosine"]


def write_pairs(folder: Path, count: int) -> Path:
    """``count`` pairs of 40x48 in two folders: smooth pictures, streaks of every brightness."""
    rng = np.random.default_rng(0)
    for role in ("rainy", "clean"):
        (folder / role).mkdir(parents=True)
    for k in range(count):
        coarse = Image.fromarray(rng.integers(30, 200, (6, 5, 3), dtype=np.uint8))
        clean = np.asarray(coarse.resize((40, 48), Image.Resampling.BICUBIC)).astype(int)
        rain = 70 * (rng.random((1, 40, 1)) > 0.8)
        for role, pixels in (("clean", clean), ("rainy", clean + rain)):
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            image.save(folder / role / f"scene {k}.png")
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("data") / "pairs", 10)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def fit(pairs, *more):
    """What the command line prints nothing about: it must succeed."""
    assert run(["fit", *TINY, f"--data.root={pairs}", *SMALL, *QUIET, *FLOAT, *more]) == 0


def refused(capsys, *words):
    """The one sentence on stderr."""
    code = run(words)
    err = capsys.readouterr().err
    assert code in (1, 2)
    assert "Traceback" not in err
    return [line for line in err.splitlines() if line.startswith("raincleave: ")][-1]


def weights(folder="."):
    return load_file(Path(folder) / RUN / "weights.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(first[k].equal(second[k]) for k in first)


def test_one_line_fine_tunes_ready_weights(pairs, capsys):
    start = DRN(stages=2, recursions=1, channels=4)
    start.save("ready.safetensors")
    words = ["fit", "--model.init_from", "ready.safetensors", f"--data.root={pairs}", *SMALL]
    assert run([*words, *QUIET, "--trainer.max_steps=4", "--trainer.val_check_interval=2"]) == 0
    assert "holds the best weights" in capsys.readouterr().out
    tuned = load(RUN / "weights.safetensors")
    assert start.hparams.items() <= tuned.hparams.items()
    ends = (tuned.state_dict(), start.state_dict())
    moved = max((ends[0][key] - ends[1][key]).abs().max() for key in ends[0])
    assert 0 < moved < 4 * 1.1e-4, "four steps of Adam at 1e-4 at most"
    config = yaml.safe_load((RUN / "config.yaml").read_text())
    assert config["init_from"] == "ready.safetensors"
    assert config["lr_scheduler"]["class_path"] == "raincleave.training.WarmupCosine"
    card = (RUN / "weights.md").read_text()
    assert 'load("weights.safetensors")' in card
    assert f"PairedFolders, {pairs}" in card
    tuned.derain(pairs / "rainy" / "scene 0.png").save("clean.png")


def test_a_job_s_log_gets_lines_now_and_then_and_after_every_validation(pairs, capsys, monkeypatch):
    seconds = iter(range(0, 1000, 10))
    monkeypatch.setattr("raincleave.seldom.monotonic", lambda: next(seconds))
    words = ["fit", *TINY, f"--data.root={pairs}", *SMALL, *FLOAT, "--trainer.max_steps=4"]
    assert run([*words, "--trainer.val_check_interval=2"]) == 0
    out, err = capsys.readouterr()
    opening = "DRN, 923 parameters; cpu, 32-true; 9 images to train on, 1 to validate on."
    assert opening in out.splitlines()
    assert "FLOPs" not in out + err, "Lightning's table is for those who ask for it"
    lines = [line for line in out.splitlines() if line.startswith("step ")]
    number = r"-?\d[\d.e-]*"
    training = rf"train/loss {number}, train/psnr {number}"
    validation = rf"val/psnr {number}, val/ssim {number}, val/input_psnr {number}"
    expected = [
        f"step 1 of 4, 0:00:30 left: {training}",
        f"step 2 of 4, 0:00:20 left: {training}",
        f"step 2 of 4: {validation}",
        f"step 4 of 4, 0:00:00 left: {training}",
        f"step 4 of 4: {validation}",
    ]
    assert len(lines) == len(expected)
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), line


def test_every_step_finds_the_memory_of_the_one_before(pairs, monkeypatch):
    calls = []
    monkeypatch.setattr(memory, "_allocator", lambda *call: calls.append(call) or True)
    training_step = DRN.training_step
    monkeypatch.setattr(
        DRN, "training_step", lambda *args: calls.append("step") or training_step(*args)
    )
    fit(pairs, "--trainer.max_steps=2")
    before, *_ = calls
    assert before == (memory._MMAP_MAX, 0)
    assert "step" not in calls[calls.index((memory._MMAP_MAX, 65536)) :]
    assert calls.count("step") == 2


def test_with_nothing_held_out_the_last_weights_are_kept(pairs, capsys, recwarn):
    words = ["fit", *TINY, f"--data.root={pairs}", *SMALL, *FLOAT, "--data.val_fraction=0"]
    assert run([*words, "--trainer.max_epochs=1"]) == 0
    out = capsys.readouterr().out
    assert "10 images to train on, 0 to validate on, so the last weights are kept" in out
    assert "holds the last weights" in out
    last = torch.load(RUN / "checkpoints/last.ckpt", weights_only=True)
    assert same(weights(), last["state_dict"])
    told = [str(warning.message) for warning in recwarn]
    assert not [line for line in told if "DataLoader" in line or "monitored key" in line]


def test_with_nothing_held_out_a_killed_training_can_go_on(pairs, monkeypatch):
    """Lightning saves after validations alone where they go by steps."""
    saved = []
    monkeypatch.setattr(
        Trainer, "save_checkpoint", lambda self, path, *_: saved.append((path, self.global_step))
    )
    steps = ["--trainer.val_check_interval=2", "--trainer.check_val_every_n_epoch=null"]
    fit(pairs, *steps, "--data.val_fraction=0", "--trainer.max_steps=7")
    assert {Path(path).name for path, _ in saved} == {"last.ckpt"}
    assert [step for _, step in saved] == [2, 4, 5, 6, 7], "and at the ends of epochs"


def test_clean_photos_are_enough(pairs):
    words = ["fit", *TINY, "--data=SyntheticRain", f"--data.root={pairs / 'clean'}", *SMALL]
    assert run([*words, *QUIET, "--trainer.max_epochs=1"]) == 0
    assert (RUN / "weights.safetensors").is_file()


def test_best_weights_are_the_averaged_ones_that_were_validated(pairs):
    fit(pairs, *ADAM, *EMA, "--trainer.max_epochs=3")
    best = torch.load(RUN / "checkpoints" / "best.ckpt", weights_only=True)
    assert same(weights(), best["state_dict"])
    assert not same(weights(), best["current_model_state"])


@pytest.mark.parametrize("end", ["--trainer.max_steps=7", "--trainer.max_epochs=2"])
def test_the_last_weights_are_validated_wherever_the_interval_ends(pairs, end):
    often = ["--trainer.val_check_interval=5", "--trainer.check_val_every_n_epoch=null"]
    fit(pairs, *ADAM, "--lr_scheduler.warmup_steps=2", end, *often)  # epochs have 4 batches
    last = torch.load(RUN / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == (7 if "steps" in end else 8)
    assert same(weights(), last["state_dict"]), "they are better than those of step 5"


def test_the_logger_has_curves_of_every_stage_and_strips(pairs):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(pairs, "--model.stages=2", "--trainer.max_epochs=1", "--trainer.log_every_n_steps=1")
    events = EventAccumulator(str(RUN)).Reload().Tags()
    stages = {f"train/{what}_{t}" for what in ("loss", "psnr") for t in (1, 2)}
    assert stages | {"val/psnr", "val/ssim"} <= set(events["scalars"])
    assert len(events["images"]) == 1
    assert events["images"][0].startswith("val/scene ")


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(pairs):
    steps = ["--trainer.max_steps=10", "--trainer.val_check_interval=3", *ADAM, *EMA]
    steps += ["--trainer.check_val_every_n_epoch=null", "--lr_scheduler.warmup_steps=2"]
    fit(pairs, *steps, "--trainer.default_root_dir=whole")
    words = ["fit", *TINY, f"--data.root={pairs}", *SMALL, *QUIET, *FLOAT, *steps]
    # Epochs have 4 batches: step 6, whose checkpoint is the last one, lies in the midst of one.
    killed = subprocess.run(
        [sys.executable, "-c", KILL, *words, "--trainer.default_root_dir=killed"], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    resume = ["--trainer.default_root_dir=killed", "--ckpt_path=last"]
    fit(pairs, *steps, *resume)
    ends = [
        torch.load(Path(folder) / RUN / "checkpoints/last.ckpt", weights_only=True)
        for folder in ("whole", "killed")
    ]
    assert [end["global_step"] for end in ends] == [10, 10]
    assert same(ends[0]["current_model_state"], ends[1]["current_model_state"])
    assert same(ends[0]["state_dict"], ends[1]["state_dict"])
    assert same(weights("whole"), weights("killed"))


def test_a_resumed_run_keeps_its_curves_where_there_is_no_tensorboard(pairs, monkeypatch):
    monkeypatch.setattr("raincleave.commands.lightning.find_spec", lambda name: None)
    often = "--trainer.log_every_n_steps=1"
    fit(pairs, often, "--trainer.max_steps=4", "--trainer.val_check_interval=2")
    before = (RUN / "metrics.csv").read_text().splitlines()
    last = (RUN / "checkpoints/last.ckpt").absolute()
    fit(pairs, often, "--trainer.max_steps=6", f"--ckpt_path={last}")
    curves = list(csv.DictReader((RUN / "metrics.csv").open()))
    assert len(before) > 4
    assert [row["step"] for row in curves if row["train/loss"]] == [str(k) for k in range(6)]
    assert [row["step"] for row in curves if row["val/psnr"]] == ["1", "3", "5"]
    assert len(list(Path("lightning_logs").iterdir())) == 1, "the path may be absolute"


def test_curves_are_in_their_file_before_the_next_are(tmp_path):
    for _ in range(2):  # the second is killed before it logs anything
        curves = CurvesInText(tmp_path, "runs", 0)
        writer = curves.experiment
    assert not (tmp_path / "runs/version_0/metrics.csv").exists()
    writer.log_metrics({"loss": 0.5}, 3)
    writer.save()
    assert CurvesInText(tmp_path, "runs", 0).experiment
    (row,) = csv.DictReader((tmp_path / "runs/version_0/metrics.csv").open())
    assert row == {"step": "3", "loss": "0.5"}


def test_a_run_resumed_elsewhere_writes_its_best_weights_there(pairs, capsys):
    still = ["--optimizer=Adam", "--optimizer.lr=0"]
    fit(pairs, *still, "--trainer.max_epochs=1")
    named = Path("lightning_logs/version_good")
    RUN.rename(named)
    last = f"--ckpt_path={named / 'checkpoints/last.ckpt'}"
    fit(pairs, *still, "--trainer.max_epochs=2", last, "--trainer.default_root_dir=elsewhere")
    assert "holds the best weights" in capsys.readouterr().out
    assert same(weights("elsewhere"), load_file(named / "weights.safetensors"))


def test_a_fine_tuning_goes_on_as_one(pairs, monkeypatch):
    common = [f"--data.root={pairs}", *SMALL, *QUIET, *FLOAT]
    tiny = ["--model.init_from=tiny.safetensors"]
    DRN(stages=1, recursions=1, channels=2).save("tiny.safetensors")
    assert run(["fit", *tiny, *common, "--trainer.max_steps=4"]) == 0
    began = yaml.safe_load((RUN / "config.yaml").read_text())
    assert began["lr_scheduler"]["class_path"].endswith("WarmupCosine")
    for again in ([*tiny, *common], [], [*SMALL, "--trainer.max_steps=6"]):
        assert run(["fit", *again, "--trainer.max_steps=6", "--ckpt_path=last"]) == 0
        settings = yaml.safe_load((RUN / "config.yaml").read_text())
        for part in ("model", "data", "optimizer", "lr_scheduler"):
            assert settings[part] == began[part], part
    assert torch.load(RUN / "checkpoints/last.ckpt")["global_step"] == 6
    before = (RUN / "config.yaml").read_bytes()
    assert run(["fit", "--ckpt_path=last", "--data.root=nowhere"]) == 1
    assert (RUN / "config.yaml").read_bytes() == before, "what did not begin leaves them"


def test_trainings_that_start_together_share_no_folder(pairs, capsys, monkeypatch):
    fit(pairs, "--trainer.max_epochs=1")
    own, asked = TensorBoardLogger._get_next_version, []

    def late(self):
        """What another process would have seen that looked a moment earlier."""
        asked.append(self)
        return 0 if len(asked) == 1 else own(self)

    monkeypatch.setattr(TensorBoardLogger, "_get_next_version", late)
    fit(pairs, "--trainer.max_epochs=1")
    assert capsys.readouterr().out.splitlines()[-1].startswith("lightning_logs/version_1/weights")
    fit(pairs, "--trainer.fast_dev_run=1")
    assert {path.name for path in RUN.parent.iterdir()} == {"version_0", "version_1"}


def test_a_run_that_was_moved_keeps_its_best(pairs, monkeypatch):
    rate = "--optimizer.lr=0.01"
    fit(pairs, "--optimizer=Adam", rate, "--trainer.max_epochs=2")
    best = torch.load(RUN / "checkpoints/best.ckpt")
    Path("moved").mkdir()
    RUN.parent.rename("moved/lightning_logs")
    last = "moved" / RUN / "checkpoints/last.ckpt"
    root = "--trainer.default_root_dir=moved"
    monkeypatch.setattr(DRN, "validation_step", lambda self, *_: self.log("val/psnr", -1.0))
    fit(pairs, "--optimizer=Adam", rate, "--trainer.max_epochs=3", f"--ckpt_path={last}", root)
    assert torch.load(last)["epoch"] == 2
    kept = torch.load("moved" / RUN / "checkpoints/best.ckpt")
    assert kept["global_step"] == best["global_step"]


ENDED = """
import os, signal, sys
from raincleave.training import StopOnNaN
def ended(self, trainer, *_):
    if trainer.global_step == 2:
        os.kill(os.getpid(), signal.SIGTERM)
StopOnNaN.on_train_batch_end = ended
from raincleave.cli import main
main()
"""


def test_a_training_that_was_ended_from_outside_is_no_success(pairs):
    words = ["fit", *TINY, f"--data.root={pairs}", *SMALL, *QUIET, *FLOAT, "--trainer.max_steps=50"]
    command = [sys.executable, "-c", ENDED, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 143
    assert done.stderr.splitlines()[-1] == (
        "raincleave: stopped from outside; --ckpt_path last goes on."
    )


KILL = """
import os, signal, sys
from raincleave.training import StopOnNaN
def killed(self, trainer, *_):
    if trainer.global_step == 8:
        os.kill(os.getpid(), signal.SIGKILL)
StopOnNaN.on_train_batch_end = killed
from raincleave.cli import run
run(sys.argv[1:])
"""


def test_a_loss_that_is_no_number_stops_and_spares_the_checkpoint(pairs, capsys):
    words = ["fit", *TINY, f"--data.root={pairs}", *SMALL, *QUIET, *FLOAT, "--trainer.max_steps=9"]
    words += ["--optimizer=SGD", "--optimizer.lr=1e30", "--trainer.val_check_interval=1"]
    message = refused(capsys, *words, "--trainer.num_sanity_val_steps=0", "--model.loss=mse")
    assert "became nan" in message or "became inf" in message
    assert "--optimizer.lr" in message
    last = RUN / "checkpoints/last.ckpt"
    assert message.endswith(f"; the last good checkpoint is {last.absolute()}.") == last.is_file()
    for last in Path().rglob("*.ckpt"):
        saved = torch.load(last, weights_only=True)["state_dict"]
        assert all(value.isfinite().all() for value in saved.values())


def test_a_full_disk_is_told_in_one_sentence_and_the_last_checkpoint_stays(
    pairs, capsys, monkeypatch
):
    fit(pairs, "--trainer.max_epochs=1")
    last = RUN / "checkpoints/last.ckpt"
    before, write = last.read_bytes(), Path.write_bytes

    def full(path, data):
        if path.suffix != ".ckpt":
            return write(path, data)
        write(path, data[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    words = [*TINY, f"--data.root={pairs}", *SMALL, *FLOAT, *QUIET, "--trainer.max_epochs=2"]
    told = refused(capsys, "fit", *words, "--ckpt_path=last")
    assert re.search(r"(best|last)\.ckpt cannot be written \(No space left on device\)", told)
    assert last.read_bytes() == before
    assert not list(last.parent.glob(".*"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data.root=nowhere"], "no folder nowhere"),
        (["--data.root={pairs}", "--data.patch_size=400"], "patch_size is 400.*40x48"),
        (["--data.root={pairs}", "--config=recipe:drn"], "no recipe 'drn'.*drn-7x7"),
        (["--data.root={pairs}", "--model=DNR"], "no model 'DNR'.*DRN"),
        (["--data.root={pairs}", "--data=Rain10H"], "no data 'Rain10H'.*Rain100H"),
        (["--data=PairedFolders"], "PairedFolders needs --data.root"),
        (["--data.root={pairs}", "--data.size=3"], "no option --data.size.*--data.help"),
        (["--data.root={pairs}", "--model.stages=x"], "--model.stages cannot be x"),
        (["--data.root={pairs}", "--trainer.precision=7"], "--trainer.precision cannot be 7"),
        (["--data.root={pairs}", "--ckpt_path=last"], "no run with a last.ckpt"),
        (["--data.root={pairs}", "--model.init_from=gone.ckpt"], "no file gone.ckpt"),
        (["--data.root={pairs}", *EMA, *EMA], "more than one.*WarmupEMA"),
        (["--data.root={pairs}", "--data.batch_size=0"], "batch_size is 0"),
        (
            ["--data=SyntheticRain", "--data.root={pairs}", "--data.preset=hevy"],
            "^raincleave: there is no rain 'hevy'; choose one of [a-z, ]*\\.$",
        ),
        (
            ["--data.root={pairs}", "--trainer.default_root_dir={pairs}/clean/scene 0.png"],
            "scene 0.png/lightning_logs.* cannot be used: Not a directory",
        ),
        (
            ["--data.root={pairs}", *SMALL, *ADAM, "--trainer.max_epochs=-1"],
            "WarmupCosine spans.*--trainer.max_steps",
        ),
        (
            ["--data.root={pairs}", "--checkpoint.save_top_k=3"],
            r"save_top_k=3 needs a name for each file, such as --checkpoint.filename=\{step\}\.",
        ),
    ],
)
def test_mistakes_get_one_sentence(words, message, pairs, capsys):
    words = [word.format(pairs=pairs) if "{pairs}" in word else word for word in words]
    told = refused(capsys, "fit", *TINY, *QUIET, *words)
    assert re.search(message, told), told


def test_help_tells_the_recipes(capsys):
    with pytest.raises(SystemExit, match="0"):
        run(["fit", "--help"])
    told = capsys.readouterr().out
    assert all(f"--{name} " in told for name in ("config", "model", "data", "init_from"))
    assert "recipe:NAME: brn-6, " in told
    assert set(re.findall(r"srn-6|drn-7x7-heavy", told)) == {"srn-6", "drn-7x7-heavy"}


def test_weights_of_another_network_are_refused(pairs, capsys):
    SRN(stages=1, res_blocks=1).save("srn.safetensors")
    words = ["fit", *TINY, f"--data.root={pairs}", *SMALL, "--model.init_from=srn.safetensors"]
    assert "holds a SRN" in refused(capsys, *words)
    fit(pairs, "--trainer.max_epochs=1")
    deeper = ["test", *TINY, "--model.recursions=2", f"--data.root={pairs}", "--ckpt_path=best"]
    assert "recursions=1" in refused(capsys, *deeper), "the weights alone would have fitted"


def test_a_checkpoint_brings_its_network_and_predicts(pairs, capsys):
    fit(pairs, "--trainer.max_epochs=1")
    words = [f"--data.root={pairs}", "--ckpt_path=best", *QUIET[:1], "--data.num_workers=0"]
    assert run(["test", *words]) == 0
    assert "test/psnr" in capsys.readouterr().out
    assert run(["predict", *words, "--output.folder=out"]) == 0
    names = sorted(path.name for path in Path("out").iterdir())
    assert names == sorted(path.name for path in (pairs / "rainy").iterdir())
    derained = load(RUN / "weights.safetensors").derain(pairs / "rainy" / names[0])
    difference = np.asarray(derained).astype(int) - np.asarray(Image.open(f"out/{names[0]}"))
    assert abs(difference).max() <= 1, "rounding"
    assert "is there already" in refused(capsys, "predict", *words, "--output.folder=out")


def test_the_config_of_a_training_tests_and_predicts(pairs, capsys):
    fit(pairs, *ADAM, *EMA, "--data.val_fraction=0.3", "--trainer.max_epochs=2")
    config = [f"--config={RUN / 'config.yaml'}", "--ckpt_path", str(RUN / "checkpoints/best.ckpt")]
    best = torch.load(RUN / "checkpoints/best.ckpt", weights_only=True)
    assert run(["validate", *config]) == 0
    out = capsys.readouterr().out
    found = re.search(r"val/psnr\W+(\d+\.\d+)", out)
    score = best["callbacks"]["ExportWeights"]["best"]
    assert float(found[1]) == pytest.approx(score, abs=1e-3), "on the same held-out pairs"
    assert run(["predict", *config, "--output.folder=out"]) == 0
    assert len(list(Path("out").iterdir())) == 10
    assert len(list(Path("lightning_logs").iterdir())) == 1, "nothing is logged, nothing trained"


def test_settings_do_not_bring_the_training_they_are_of(pairs, capsys):
    fit(pairs, "--trainer.max_epochs=1")
    config = f"--config={RUN / 'config.yaml'}"
    assert run(["fit", config, "--ckpt_path=last", "--trainer.max_epochs=2", *QUIET]) == 0
    resumed = (RUN / "config.yaml").read_text()
    assert yaml.safe_load(resumed)["ckpt_path"] is None
    torch.manual_seed(1)
    DRN(stages=1, recursions=1, channels=4).save("other.safetensors")
    scores = []
    for words in (config, f"--data.root={pairs}"):
        assert run(["validate", words, "--init_from=other.safetensors", *FLOAT]) == 0
        scores.append(re.search(r"val/psnr\W+(\d+\.\d+)", capsys.readouterr().out)[1])
    assert scores[0] == scores[1]
    assert run(["fit", config, *QUIET]) == 0
    assert (RUN / "config.yaml").read_text() == resumed, "a new training has a folder of its own"


def test_a_job_that_slurm_queues_again_keeps_its_folder(pairs, monkeypatch):
    job = {"JOB_ID": 77, "JOB_NAME": "rain", "NTASKS": 1, "PROCID": 0, "LOCALID": 0, "NODEID": 0}
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    still = ["--optimizer=Adam", "--optimizer.lr=0", "--trainer.max_epochs=2"]
    fit(pairs, *still)
    (folder,) = Path("lightning_logs").iterdir()
    assert folder.name == "version_77"
    before = (folder / "weights.safetensors").stat().st_mtime_ns
    fit(pairs, *still)
    assert {run.name for run in Path("lightning_logs").iterdir()} == {"version_77", "version_78"}
    # What Lightning writes when the time is up, and looks for when the job begins again.
    shutil.copy(folder / "checkpoints/last.ckpt", "hpc_ckpt_1.ckpt")
    fit(pairs, *still[:2], "--trainer.max_epochs=4")
    assert len(list(Path("lightning_logs").iterdir())) == 2
    assert (folder / "weights.safetensors").stat().st_mtime_ns == before, "none were better"
    last = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    assert last["epoch"] == 3


def test_the_weights_of_a_training_test_and_do_not_resume(pairs, capsys):
    fit(pairs, "--trainer.max_epochs=1")
    words = [f"--data.root={pairs}", f"--ckpt_path={RUN / 'weights.safetensors'}"]
    assert run(["test", *words, *QUIET, "--data.num_workers=0"]) == 0
    assert "test/psnr" in capsys.readouterr().out
    deeper = refused(capsys, "test", *TINY, "--model.recursions=2", *words)
    assert "recursions=1" in deeper, "the weights alone would have fitted"
    told = refused(capsys, "fit", *TINY, *words)
    assert re.search(r"weights\.safetensors holds weights alone.*--model\.init_from", told)


def test_last_is_looked_for_where_the_config_or_the_environment_says(pairs, monkeypatch):
    fit(pairs, "--trainer.max_epochs=1", "--trainer.default_root_dir=there")
    fit(pairs, "--trainer.max_epochs=2")
    config = Path("there") / RUN / "config.yaml"
    again = ["fit", f"--config={config}", "--ckpt_path=last"]
    assert run([*again, "--trainer.max_epochs=3"]) == 0
    last = torch.load("there" / RUN / "checkpoints/last.ckpt", weights_only=True)
    assert last["epoch"] == 2
    last = torch.load(RUN / "checkpoints/last.ckpt", weights_only=True)
    assert last["epoch"] == 1
    monkeypatch.setenv("PL_FIT__TRAINER__DEFAULT_ROOT_DIR", "there")
    fit(pairs, "--trainer.max_epochs=4", "--ckpt_path=last")
    last = torch.load("there" / RUN / "checkpoints/last.ckpt", weights_only=True)
    assert last["epoch"] == 3


def test_an_average_of_the_weights_is_not_lost_in_resuming(pairs, capsys):
    fit(pairs, *EMA, "--trainer.max_epochs=1")
    words = [f"--data.root={pairs}", *SMALL, *QUIET, *FLOAT, "--ckpt_path=last"]
    told = refused(capsys, "fit", *TINY, *words, "--trainer.max_epochs=2")
    assert re.search(r"last\.ckpt.* averages its weights; .*--config", told)
    assert run(["test", *words]) == 0, "only a training goes on with it"


def test_settings_come_from_yaml_and_environment_and_are_printed(pairs, capsys, monkeypatch):
    Path("mine.yaml").write_text("trainer: {max_steps: 5}\ndata: {class_path: PairedFolders}\n")
    monkeypatch.setenv("PL_FIT__TRAINER__LIMIT_VAL_BATCHES", "3")
    words = ["fit", *TINY, "--config=mine.yaml", f"--data.root={pairs}", "--print_config"]
    with pytest.raises(SystemExit, match="0"):
        run(words)
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["trainer"]["max_steps"] == 5
    assert printed["trainer"]["limit_val_batches"] == 3
    assert printed["model"]["class_path"] == "raincleave.DRN"


def test_a_network_and_a_config_of_the_environment_are_taken(pairs, capsys, monkeypatch):
    words = ["fit", f"--data.root={pairs}", "--print_config"]
    monkeypatch.setenv("PL_FIT__MODEL", "SRN")
    with pytest.raises(SystemExit, match="0"):
        run(words)
    assert yaml.safe_load(capsys.readouterr().out)["model"]["class_path"] == "raincleave.SRN"
    monkeypatch.delenv("PL_FIT__MODEL")
    Path("mine.yaml").write_text(
        "model: {class_path: BRN}\ndata: {class_path: PairedFolders}\ntrainer: {max_steps: 4}\n"
    )
    monkeypatch.setenv("PL_FIT__CONFIG", "mine.yaml")
    with pytest.raises(SystemExit, match="0"):
        run(words)
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (printed["model"]["class_path"], printed["trainer"]["max_steps"]) == (
        "raincleave.BRN",
        4,
    )


OWN = """
from raincleave.models import DRN

class Mine(DRN):
    def __init__(self, sizes: tuple[int, int] = (2, 1)) -> None:
        super().__init__(stages=1, recursions=sizes[1], channels=sizes[0])
        self.save_hyperparameters()

class Fixed(DRN):
    def __init__(self) -> None:
        super().__init__(stages=1, recursions=1, channels=2)
"""


def test_an_own_network_goes_on_scores_and_is_told_how_to_derain(pairs, capsys, monkeypatch):
    Path("mine.py").write_text(OWN)
    monkeypatch.syspath_prepend(".")
    common = [f"--data.root={pairs}", *SMALL, *QUIET, *FLOAT]
    assert run(["fit", "--model=mine.Mine", *common, "--trainer.max_steps=1"]) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    weights = RUN / "weights.safetensors"
    command = f"raincleave predict --model mine.Mine --ckpt_path {weights} --data.root PHOTOS"
    assert told.endswith(f"Try: {command}")
    photos = ["--data.root", str(pairs / "rainy"), *QUIET]
    assert run([*command.split()[1:-2], *photos]) == 0
    assert len(list(Path("lightning_logs").parent.rglob("scene*.png"))) == 10
    card = weights.with_suffix(".md").read_text()
    assert "The network is `mine`'s `Mine` (`pip install raincleave`)" in card
    assert "import mine  # the network's class\nfrom raincleave import load\n" in card
    for more in ("--trainer.max_steps=1", "--trainer.max_steps=2"):
        last = ["--ckpt_path=last"] if more[-1] == "2" else []
        folder = "--trainer.default_root_dir=fixed"
        assert run(["fit", "--model=mine.Fixed", *common, more, folder, *last]) == 0
    assert torch.load(f"fixed/{RUN}/checkpoints/last.ckpt")["global_step"] == 2


def launch(*words):
    """Two processes of the command line, as a user starts them."""
    command = [sys.executable, "-m", "raincleave", *words]
    devices = ["--trainer.devices=2", "--trainer.strategy=ddp", *FLOAT, *QUIET]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *devices], env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]


def test_two_processes_train_as_one_with_the_doubled_batch(pairs):
    # Three pairs validate: one process has two of them, and none is counted twice.
    steps = ["--trainer.max_steps=5", "--data.val_fraction=0.3", *ADAM, *SMALL]
    steps += ["--lr_scheduler.warmup_steps=1"]
    words = ["fit", *TINY, f"--data.root={pairs}", *steps]
    launch(*words, "--trainer.default_root_dir=two")
    fit(pairs, *steps, "--data.batch_size=4", "--trainer.default_root_dir=one")
    one, two = weights("one"), weights("two")
    torch.testing.assert_close(two, one, rtol=0, atol=1e-5)
    first, last = (
        torch.load(folder / RUN / "checkpoints/last.ckpt", weights_only=True)
        for folder in (Path("one"), Path("two"))
    )
    assert first["global_step"] == last["global_step"] == 5
    scores = [saved["callbacks"]["ExportWeights"]["best"] for saved in (first, last)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)
    assert not same(one, weights_after_one_step(pairs, steps))


def weights_after_one_step(pairs, steps):
    fit(pairs, *steps, "--trainer.max_steps=1", "--trainer.default_root_dir=short")
    return weights("short")


def test_two_processes_write_every_image_once(tmp_path, pairs):
    photos = tmp_path / "photos"
    photos.mkdir()
    for k in range(101):
        Image.new("RGB", (16, 12), (k, 2 * k, 255 - k)).save(photos / f"{k}.png")
    DRN(stages=1, recursions=1, channels=4).save("tiny.safetensors")
    # Each image may be written once: a second time is an error.
    words = ["predict", "--model.init_from=tiny.safetensors", f"--data.root={photos}"]
    launch(*words, "--data.num_workers=0")
    assert {path.stem for path in Path("derained").iterdir()} == {str(k) for k in range(101)}
