"""Schedule, callbacks and machine of `raincleave.training`; every family can learn."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from torch.utils.data import DataLoader, IterableDataset

from raincleave import load
from raincleave.errors import CheckpointError, ConfigError
from raincleave.metrics import psnr
from raincleave.models import BRN, DRN, SRN, Derainer, ResGuideNet, RRANet, Stage
from raincleave.training import (
    AtomicCheckpoints,
    ExportWeights,
    WarmupCosine,
    WarmupEMA,
    compile_stages,
    native_precision,
)
from raincleave.training.images import strip


def rates(steps, **options):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    scheduler = WarmupCosine(optimizer, **options)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_the_rate_rises_to_its_full_height_and_falls_to_the_floor():
    seen = rates(13, total_steps=12, warmup_steps=4, floor=0.1)
    assert seen[:5] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])
    assert seen[8] == pytest.approx(2 * (0.1 + 0.9 * 0.5)), "half of the cosine's way"
    assert seen[12] == pytest.approx(0.2)


@pytest.mark.parametrize("decay", [0.998, 0.5])
def test_the_average_forgets_where_a_short_training_began(decay):
    ema, average = WarmupEMA(decay), torch.ones((), dtype=torch.float64)
    for count in range(1, 300):
        average = ema.averaged(average, torch.zeros_like(average), torch.tensor(count))
    assert 0 <= float(average) < 1e-12, "the share of the first weights in the last average"


def test_the_average_s_memory_grows_up_to_its_decay():
    ema, kept = WarmupEMA(0.9), []
    for count in (0, 30, 80, 81, 5000):
        kept.append(float(ema.averaged(torch.ones(()), torch.zeros(()), torch.tensor(count))))
    assert kept == pytest.approx([0.1, 31 / 40, 0.9, 0.9, 0.9])


def test_an_average_that_keeps_everything_is_refused():
    with pytest.raises(ConfigError, match=r"WarmupEMA's decay is 1\.0"):
        WarmupEMA(1.0)


def test_a_resumed_schedule_goes_on_and_may_be_longer():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    first = WarmupCosine(optimizer, total_steps=12, warmup_steps=4)
    for _ in range(7):
        optimizer.step()
        first.step()
    state = first.state_dict()
    other = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    resumed = WarmupCosine(other, total_steps=24, warmup_steps=4)
    resumed.load_state_dict(state)
    other.step()
    resumed.step()
    assert other.param_groups[0]["lr"] == pytest.approx(2 * first.__class__.factor(resumed, 8))
    assert other.param_groups[0]["lr"] == pytest.approx(rates(9, total_steps=24, warmup_steps=4)[8])


@pytest.mark.parametrize(
    ("bf16", "amx", "accelerator", "expected"),
    [
        (True, False, "auto", "bf16-mixed"),
        (False, True, "cpu", "bf16-mixed"),
        (False, False, "cpu", "32-true"),
        (True, True, "tpu", "32-true"),
    ],
)
def test_bfloat16_is_chosen_only_where_it_is_native(bf16, amx, accelerator, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert native_precision(accelerator) == expected


def test_a_checkpoint_is_whole_or_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "runs" / "last.ckpt"
    AtomicCheckpoints().save_checkpoint({"step": 1}, path)

    def die(checkpoint, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", die)
    with pytest.raises(KeyboardInterrupt):
        AtomicCheckpoints().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}


def test_a_strip_shows_rainy_stages_and_clean_in_a_row():
    model = DRN(stages=2, recursions=1, channels=4)
    torch.nn.init.zeros_(model.f_out.weight)
    torch.nn.init.constant_(model.f_out.bias, 0.25)  # every stage is y + 0.25
    batch = {"rainy": torch.rand(2, 3, 20, 14) / 2, "clean": torch.rand(2, 3, 20, 14)}
    image = strip(model, batch, size=10)
    rainy, clean = (batch[key][0, :, 5:15, 2:12] for key in ("rainy", "clean"))
    expected = torch.cat([rainy, rainy + 0.25, rainy + 0.25, clean], 2)
    torch.testing.assert_close(image, expected)


def test_a_strip_of_a_network_with_pooling_keeps_the_size():
    batch = {key: torch.rand(1, 3, 13, 9) for key in ("rainy", "clean")}
    assert strip(RRANet(stages=1, width=4, window=3), batch, size=64).shape == (3, 13, 27)


@pytest.mark.slow
@pytest.mark.parametrize("family", [DRN, SRN, ResGuideNet])
def test_compiled_stages_compute_the_same(family):
    torch.manual_seed(0)
    model, rainy = family(), torch.rand(1, 3, 24, 24)
    expected = model(rainy)
    compile_stages(model)
    torch.testing.assert_close(model(rainy), expected, rtol=0, atol=1e-5)


class Enough(Callback):
    """Stops as soon as the mean over the patches has reached 32 dB."""

    reached = float("-inf")

    def on_train_batch_end(self, trainer, *_):
        self.reached = float(trainer.callback_metrics["train/psnr"])
        trainer.should_stop = self.reached > 32


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        lambda: DRN(stages=3, recursions=3),
        lambda: SRN(stages=2),
        lambda: SRN(stages=2, mapping="direct", cell="gru"),
        lambda: BRN(stages=2),
        lambda: ResGuideNet(blocks=3),
        lambda: RRANet(stages=2, width=16),
    ],
    ids=["DRN", "SRN", "SRN-GRU", "BRN", "ResGuideNet", "RRANet"],
)
def test_every_family_over_fits_four_patches(model, tmp_path):
    torch.manual_seed(0)
    clean = torch.nn.functional.interpolate(torch.rand(4, 3, 6, 6), size=32, mode="bicubic")
    clean = clean.clamp(0, 1) * 0.8
    rain = 0.3 * (torch.rand(4, 1, 1, 32) > 0.8)
    names = list("abcd")
    patches = [
        {"rainy": (c + r).clamp(0, 1), "clean": c, "name": n}
        for c, r, n in zip(clean, rain, names, strict=True)
    ]
    enough = Enough()
    trainer = Trainer(
        accelerator="cpu",
        max_steps=600,
        max_epochs=-1,
        callbacks=[enough],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(model(), DataLoader(patches, batch_size=4))
    assert enough.reached > 32, f"{enough.reached:.1f} dB after {trainer.global_step} steps"
    print(f"{trainer.global_step} steps")


def test_the_papers_decay_spans_a_training_that_is_made_longer():
    def scheduled(steps):
        model = DRN(stages=1, recursions=1, channels=4)
        model._trainer = SimpleNamespace(estimated_stepping_batches=steps)
        return model.configure_optimizers()["lr_scheduler"]["scheduler"]

    def rates(schedule, steps):
        for _ in range(steps):
            schedule.optimizer.step()
            schedule.step()
            yield schedule.get_last_lr()[0] / DRN().published_optimizer().defaults["lr"]

    decay, short = DRN.published_decay, scheduled(10)
    assert list(rates(short, 10)) == pytest.approx(
        [1] * 2 + [decay] * 2 + [decay**2] * 3 + [decay**3] * 3
    )
    longer = scheduled(100)
    longer.load_state_dict(short.state_dict())
    assert list(rates(longer, 20)) == pytest.approx([1] * 19 + [decay])
    assert "milestones" not in short.state_dict()


class Remote(Logger):
    """A logger of a server: it has names for the run, and no folder."""

    name, version, save_dir = "rain", "run-1", None

    def log_metrics(self, *_, **__):
        pass

    log_hyperparams = log_metrics


@pytest.mark.parametrize(("version", "folder"), [("run-1", "rain/run-1"), (3, "rain/version_3")])
def test_every_run_has_a_folder_whatever_logs_it(tmp_path, monkeypatch, version, folder):
    monkeypatch.setattr(Remote, "version", version)
    trainer = Trainer(logger=Remote(), default_root_dir=tmp_path, accelerator="cpu")
    assert ExportWeights().file(trainer) == tmp_path / folder / "weights.safetensors"


def test_validation_tells_what_changing_nothing_would_score():
    class Same(Derainer):
        def unroll(self, rainy):
            yield Stage(rainy)

    generator = torch.Generator().manual_seed(0)
    clean = (torch.rand(2, 3, 24, 24, generator=generator) * 200).round() / 255
    rainy = (clean + torch.tensor([20, 40]).view(2, 1, 1, 1) / 255).clamp(0, 1)
    batches = [{"rainy": rainy[k : k + 1], "clean": clean[k : k + 1]} for k in (0, 1)]
    trainer = Trainer(logger=False, enable_progress_bar=False, accelerator="cpu")
    (scores,) = trainer.validate(Same(), DataLoader(batches, batch_size=None), verbose=False)
    assert scores["val/input_psnr"] == pytest.approx(psnr(rainy, clean).mean().item(), abs=1e-4)
    assert scores["val/psnr"] == pytest.approx(scores["val/input_psnr"], abs=1e-4)


class Endless(IterableDataset):
    """Twelve batches, whose number nobody knows beforehand."""

    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        for _ in range(12):
            clean = torch.rand(2, 3, 16, 16, generator=generator)
            yield {"rainy": (clean + 0.1).clamp(0, 1), "clean": clean}


def small():
    torch.manual_seed(0)
    return DRN(stages=1, recursions=1, channels=2)


def trainer_of(folder, **options):
    return Trainer(
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        accelerator="cpu",
        default_root_dir=folder,
        **options,
    )


def test_a_training_of_unknown_length_runs_to_its_end_at_the_full_rate(tmp_path):
    model = small()
    trainer = trainer_of(tmp_path, max_epochs=2, callbacks=[ExportWeights()])
    trainer.fit(model, DataLoader(Endless(), batch_size=None))
    assert trainer.global_step == 24
    assert trainer.optimizers[0].param_groups[0]["lr"] == 1e-3
    assert (tmp_path / "weights.safetensors").is_file()


def test_scoring_afterwards_leaves_the_best_weights(tmp_path):
    model, export = small(), ExportWeights()
    batches = list(Endless())
    trainer = trainer_of(tmp_path, max_epochs=1, callbacks=[export])
    trainer.fit(
        model, DataLoader(batches, batch_size=None), DataLoader(batches[:2], batch_size=None)
    )
    kept, best = (tmp_path / "weights.safetensors").read_bytes(), export.best
    with torch.no_grad():
        model.f_out.bias.add_(0.01)
        easy = [{"rainy": batches[0]["rainy"], "clean": model(batches[0]["rainy"]).clamp(0, 1)}]
    trainer.validate(model, DataLoader(easy, batch_size=None), verbose=False)
    assert trainer.callback_metrics["val/psnr"] > best, "or this test says nothing"
    assert export.best == best
    assert (tmp_path / "weights.safetensors").read_bytes() == kept


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_gradients_of_a_fused_optimiser_are_clipped(tmp_path, precision):
    class Clipped(DRN):
        def on_before_optimizer_step(self, optimizer):
            norms.append(torch.cat([p.grad.flatten() for p in self.parameters()]).norm().item())

    norms = []
    model = Clipped(stages=1, recursions=1, channels=2)
    trainer = trainer_of(tmp_path, max_steps=3, gradient_clip_val=1e-3, precision=precision)
    own = model.configure_gradient_clipping

    def clipped(*given, **named):
        own(*given, **named)
        after.append(torch.cat([p.grad.flatten() for p in model.parameters()]).norm().item())

    after = []
    model.configure_gradient_clipping = clipped
    trainer.fit(model, DataLoader(list(Endless()), batch_size=None))
    assert trainer.optimizers[0].defaults["fused"]
    assert min(norms) > 1e-3
    assert max(after) <= 1.01e-3


def test_a_card_tells_no_command_that_does_not_exist(tmp_path, monkeypatch):
    trainer = trainer_of(tmp_path, max_steps=1, callbacks=[ExportWeights()])
    monkeypatch.setattr("sys.argv", ["/somewhere/mine.py", "--fast"])
    trainer.fit(small(), DataLoader(Endless(), batch_size=None))
    card = (tmp_path / "weights.md").read_text()
    assert "- command: mine.py --fast\n" in card
    assert "- data: unknown folders\n" in card


def test_a_network_named_like_one_of_ours_is_told_before_it_is_trained(tmp_path):
    class SRN(DRN):
        pass

    trainer = trainer_of(tmp_path, max_steps=1, callbacks=[ExportWeights()])
    with pytest.raises(CheckpointError, match="raincleave has a SRN of its own; give the class"):
        trainer.fit(SRN(stages=1), DataLoader(Endless(), batch_size=None))
    assert trainer.global_step == 0


def test_a_card_claims_nothing_of_other_weights_or_stages(tmp_path):
    model = load("resguidenet")
    assert model.card["figures"]
    trainer_of(tmp_path, max_steps=1).fit(model, DataLoader(Endless(), batch_size=None))
    assert model.card is None
    assert "figures" not in load("drn-7x7", stages=3).card
    assert load("drn-7x7", stages=7).card["figures"]
