"""What every architecture owes: the one model API."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
import torch
from torch import nn

from raincleave.errors import ConfigError, ImageError
from raincleave.losses import LOSSES, ssim, ssim_psnr, stage_losses
from raincleave.metrics import psnr
from raincleave.models import BRN, DRN, SRN, Derainer, ResGuideNet, RRANet

SMALL = {
    "drn": lambda **k: DRN(stages=2, recursions=2, channels=8, **k),
    "srn": lambda **k: SRN(stages=2, res_blocks=1, **k),
    "srn-gru": lambda **k: SRN(stages=2, res_blocks=1, cell="gru", mapping="direct", **k),
    "brn": lambda **k: BRN(stages=2, **k),
    "brn-gru": lambda **k: BRN(stages=2, cell="gru", **k),
    "crn": lambda **k: BRN(stages=2, coupling="none", **k),
    "resguidenet": lambda **k: ResGuideNet(blocks=2, recursions=2, channels=8, **k),
    "rranet": lambda **k: RRANet(stages=2, width=4, **k),
}
GOLDEN = Path(__file__).parents[1] / "golden" / "families.json"


@pytest.fixture(params=SMALL)
def model(request) -> Derainer:
    torch.manual_seed(0)
    return SMALL[request.param]()


def batch(size: int = 24) -> dict:
    clean = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    return {"rainy": (clean + 0.2).clamp(0, 1), "clean": clean, "name": ["a", "b"]}


@pytest.mark.parametrize(
    ("build", "count"),
    [
        (DRN, 10_595),
        (lambda: DRN(stages=5, recursions=5), 10_595),
        (lambda: DRN(res_blocks=1), 5_955),
        (SRN, 168_963),
        (lambda: SRN(mapping="direct"), 168_963),
        (lambda: SRN(mapping="direct", cell="gru"), 150_499),
        (lambda: SRN(mapping="direct", sees_rainy=False), 168_099),
        (lambda: SRN(res_blocks=18), 409_411),
        (lambda: BRN(coupling="none"), 301_798),
        (lambda: BRN(coupling="r2x"), 338_662),
        (lambda: BRN(coupling="x2r"), 338_662),
        (lambda: BRN(cell="gru"), 320_166),
        (BRN, 375_526),
        (lambda: ResGuideNet(blocks=3), 19_404 + 30),
        (lambda: ResGuideNet(blocks=5), 37_065 + 48),
    ],
)
def test_published_parameter_counts(build, count):
    assert sum(p.numel() for p in build().parameters()) == count


@pytest.mark.parametrize("size", [(1, 1), (17, 33), (64, 64), (3, 70)])
def test_any_size_is_kept_and_forward_is_the_last_stage(model, size):
    rainy = torch.rand(1, 3, *size)
    with torch.inference_mode():
        stages = list(model.eval().unroll(rainy))
        assert all(stage.background.shape == rainy.shape for stage in stages)
        assert torch.equal(model(rainy), stages[-1].background)
        assert torch.equal(model(rainy, stages=1), stages[0].background)


def test_stages_out_of_range_are_refused(model):
    rainy = torch.rand(1, 3, 8, 8)
    with pytest.raises(ConfigError, match="must be 1 or more"):
        model(rainy, stages=0)
    with pytest.raises(ConfigError, match=r"has \d stages, not 99"):
        model(rainy, stages=99)


def test_hidden_states_follow_the_input(model):
    model = model.double()
    rainy = torch.rand(1, 3, 16, 16, dtype=torch.float64).to(memory_format=torch.channels_last)
    assert model(rainy).dtype == torch.float64


@pytest.mark.parametrize("supervision", ["single", "recursive"])
@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_gets_a_gradient(name, supervision):
    torch.manual_seed(0)
    model = SMALL[name](supervision=supervision)
    model.training_step(batch()).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("drn", [0.1, 1.2]),
        ("srn", [0.0, 1.0]),
        ("brn", [0.0, 1.0]),
        ("rranet", [0.0, 1.0]),
    ],
)
def test_the_loss_is_the_papers_sum(name, weights):
    torch.manual_seed(0)
    model, data = SMALL[name](), batch()
    x = [stage.background for stage in model.unroll(data["rainy"])]
    by_hand = sum(w * -ssim(xt, data["clean"]).mean() for w, xt in zip(weights, x, strict=True))
    torch.testing.assert_close(model.training_step(data), by_hand)


def test_the_loss_of_resguidenet_averages_blocks_and_merge():
    torch.manual_seed(0)
    model, data = SMALL["resguidenet"](), batch()
    x = [stage.background for stage in model.unroll(data["rainy"])]
    assert len(x) == 3
    by_hand = 0.0
    for xt in x:
        mse = (xt - data["clean"]).square().mean()
        log = torch.log(1 / (ssim(xt, data["clean"]) + 1e-4)).mean()
        by_hand = by_hand + (mse + log) / 3
    torch.testing.assert_close(model.training_step(data), by_hand)


def test_recursive_supervision_of_brn_with_rain():
    torch.manual_seed(0)
    model, data = SMALL["brn"](supervision="recursive", supervise_rain=True), batch()
    stages = list(model.unroll(data["rainy"]))
    rain = data["rainy"] - data["clean"]
    losses = [
        -0.55 * ssim(s.background, data["clean"]).mean() - 0.45 * ssim(s.rain, rain).mean()
        for s in stages
    ]
    torch.testing.assert_close(model.training_step(data), 0.5 * losses[0] + 1.5 * losses[1])


@pytest.mark.parametrize("name", LOSSES)
def test_the_stages_losses_in_one_call_are_those_one_by_one(name):
    torch.manual_seed(0)
    truth = torch.rand(2, 3, 20, 31)
    estimates = [torch.rand(2, 3, 20, 31).requires_grad_() for _ in range(3)]
    weights = torch.tensor([0.1, 0.2, 1.3])
    apart = torch.stack([LOSSES[name](estimate, truth).mean() for estimate in estimates])
    together = stage_losses(LOSSES[name], estimates, truth)
    torch.testing.assert_close(together, apart)
    for mine, theirs in zip(
        torch.autograd.grad((together * weights).sum(), estimates),
        torch.autograd.grad((apart * weights).sum(), estimates),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_identical_seeds_give_identical_losses(model):
    name = type(model).__name__

    def three_steps() -> list[float]:
        torch.manual_seed(3)
        fresh = type(model)(**model.hparams)
        optimizer = fresh.published_optimizer()
        losses = []
        for _ in range(3):
            loss = fresh.training_step(batch())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    first = three_steps()
    assert first == three_steps(), name
    assert first[-1] < first[0]


def test_checkpointed_stages_train_the_same(model):
    data = batch()
    again = type(model)(**{**model.hparams, "checkpoint_stages": True})
    again.load_state_dict(model.state_dict())
    for network in (model, again):
        network.training_step(data).backward()
    for p, q in zip(model.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


def test_hyper_parameters_are_json(model):
    assert type(model)(**json.loads(json.dumps(dict(model.hparams)))).hparams == model.hparams


def test_ssim_psnr_is_the_sum_of_both_and_finite_without_an_error():
    clean = 0.7 * batch()["clean"]
    for error in (0.2, 0.02):
        rainy = clean + error
        of_psnr = (ssim_psnr(rainy, clean) + ssim(rainy, clean)).double()
        by_hand = -psnr(rainy, clean, protocol="rgb") / 10
        torch.testing.assert_close(of_psnr, by_hand, atol=0.02, rtol=0)
    same = clean.clone().requires_grad_()
    ssim_psnr(same, clean).sum().backward()
    assert same.grad.isfinite().all()


def test_a_loss_first_asked_for_without_gradients_trains_all_the_same():
    x, y = torch.rand(2, 1, 3, 19, 23)
    with torch.inference_mode():
        before = ssim(x, y)
    x.requires_grad_()
    after = ssim(x, y)
    after.sum().backward()
    assert torch.equal(after, before)
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("stages", ["all", 2.5, True])
def test_stages_that_are_no_number_are_refused(stages):
    with pytest.raises(ConfigError, match="stages is a number from 1 up, 'auto' or None, not"):
        SMALL["drn"]().derain(torch.rand(3, 8, 8), stages=stages)


def test_an_unknown_loss_is_named():
    with pytest.raises(ConfigError, match="there is no loss 'l7'"):
        DRN(loss="l7")


def test_derain_leaves_the_mode_and_takes_tensors(model):
    model.train()
    image = torch.rand(3, 20, 30)
    clean = model.derain(image)
    assert model.training
    assert clean.shape == image.shape
    expected = model.eval()(image[None])[0].clamp(0, 1)
    torch.testing.assert_close(clean, expected, atol=1e-5, rtol=1e-5)


def test_derain_leaves_frozen_parts_frozen():
    model = DRN(stages=1, recursions=1, channels=2).train()
    model.f_rec.eval()
    model.derain(torch.rand(3, 8, 8))
    assert [part.training for part in (model, model.f_in, model.f_rec)] == [True, True, False]
    assert not any(part.training for part in model.f_rec.modules())


def test_derain_is_exact_within_autocast(model):
    rainy = batch(32)["rainy"]
    exact = model.derain(rainy)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.derain(rainy), exact)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_fast_is_what_a_model_of_another_type_is_anyway(model, dtype):
    rainy = batch(32)["rainy"]
    model = model.to(dtype)
    assert torch.equal(model.derain(rainy, precision="fast"), model.derain(rainy))


def test_threads_leave_a_model_in_training_in_its_mode(model):
    rainy, unroll = batch()["rainy"], model.unroll
    inside, go_on = [Event(), Event()], [Event(), Event()]
    calls = iter((0, 1))

    def waiting(image):
        call = next(calls)
        inside[call].set()
        go_on[call].wait(10)
        yield from unroll(image)

    model.unroll = waiting
    with ThreadPoolExecutor(2) as pool:
        running = []
        for entered in inside:
            running.append(pool.submit(model.derain, rainy, tile=None))
            assert entered.wait(10)
        for call in (0, 1):  # the first ends while the second is still within
            go_on[call].set()
            running[call].result()
    assert model.training


@pytest.mark.parametrize(
    ("text", "kind"), [("can't allocate memory", ImageError), ("shapes do not fit", RuntimeError)]
)
def test_a_picture_that_is_too_large_to_be_read_is_told(text, kind, monkeypatch):
    def unread(image):
        raise RuntimeError(text)

    monkeypatch.setattr("raincleave.models.derainer.to_tensor", unread)
    with pytest.raises(kind, match=r"does not fit|do not fit"):
        SMALL["drn"]().derain("photo.jpg")


def test_derain_refuses_nan(model):
    with pytest.raises(ImageError, match=r"(?i)nan"):
        model.derain(torch.full((3, 8, 8), torch.nan))


def test_saved_weights_are_bit_equal(model, tmp_path):
    from raincleave import load

    model.save(tmp_path / "weights.safetensors")
    loaded = load(tmp_path / "weights.safetensors")
    assert dict(loaded.hparams) == dict(model.hparams)
    assert not loaded.training
    for (n, p), (m, q) in zip(
        sorted(model.state_dict().items()), sorted(loaded.state_dict().items()), strict=True
    ):
        assert n == m
        assert torch.equal(p, q)


def test_exports_at_a_size_it_was_not_traced_at(model):
    multiple = model.size_multiple
    height, width = torch.export.Dim("h", min=2, max=64), torch.export.Dim("w", min=2, max=64)
    dims = {2: multiple * height, 3: multiple * width} if multiple > 1 else {2: height, 3: width}
    program = torch.export.export(
        Forward(model.eval()), (torch.rand(1, 3, 24, 32),), dynamic_shapes=[dims], strict=False
    )
    image = torch.rand(1, 3, 40, 16)
    torch.testing.assert_close(program.module()(image), model(image), atol=1e-5, rtol=1e-5)


class Forward(nn.Module):
    """`Derainer` is a LightningModule, whose trainer property torch.export must not touch."""

    def __init__(self, model: Derainer) -> None:
        super().__init__()
        self.model = model

    def forward(self, rainy):
        return self.model(rainy)


def formula_weights(model: Derainer) -> None:
    """Weights that need no random generator: the same in every version of torch."""
    with torch.no_grad():
        for k, p in enumerate(model.parameters()):
            i = torch.arange(p.numel(), dtype=torch.float64)
            wave = torch.sin(i * 12.9898 + k) * 0.5 / max(1, p[0].numel()) ** 0.5
            p.copy_(wave.view(p.shape))


def golden_values(model: Derainer) -> list[list[float]]:
    formula_weights(model)
    i = torch.arange(3 * 12 * 14, dtype=torch.float64)
    rainy = (0.5 + 0.5 * torch.sin(i * 0.37)).view(1, 3, 12, 14)
    with torch.inference_mode():
        stages = list(model.double().eval().unroll(rainy))
    return [
        [s.background.mean().item(), s.background.std().item(), s.background[0, 1, 5, 7].item()]
        for s in stages
    ]


@pytest.mark.parametrize("name", SMALL)
def test_golden_outputs(name):
    expected = torch.tensor(json.loads(GOLDEN.read_text())[name])
    torch.testing.assert_close(
        torch.tensor(golden_values(SMALL[name]())), expected, atol=1e-6, rtol=1e-6
    )


if __name__ == "__main__":  # python tests/models/test_contract.py writes the golden file anew
    GOLDEN.write_text(
        json.dumps({n: golden_values(b()) for n, b in SMALL.items()}, indent=1) + "\n"
    )


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: BRN(coupling="r2x "), "BRN has no coupling='r2x '; choose from both, r2x"),
        (lambda: SRN(cell="LSTM"), "SRN has no cell='LSTM'; choose from lstm, gru"),
        (lambda: SRN(supervision="Single"), "SRN has no supervision='Single'; choose from single"),
        (lambda: SRN(stages=0), "SRN has no stages=0; it is a whole number from 1 to 1024"),
        (lambda: DRN(recursions=-2), "DRN has no recursions=-2; it is a whole number"),
        (lambda: DRN(stages=2.0), r"DRN has no stages=2\.0; it is a whole number"),
        (lambda: RRANet(window=8), "RRANet's window is an odd number from 3 up, not 8"),
    ],
)
def test_arguments_without_a_meaning_are_named(make, told):
    with pytest.raises(ConfigError, match=told):
        make()
