"""Fused convolutions, rounded kernels and half precision, against plain float32."""

import copy
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from raincleave.errors import ConfigError
from raincleave.inference import engine, memory, precision
from raincleave.inference.precision import (
    computing_in,
    convolve,
    convolve_parts,
    dtype_of,
    round_kernels,
    widened,
)
from raincleave.models import BRN, DRN, SRN, ResGuideNet, RRANet
from raincleave.models.derainer import Stage
from raincleave.models.layers import ConvGRU, ConvLSTM

CPU = torch.device("cpu")
FAMILIES = {
    "drn": lambda: DRN(stages=3, recursions=3),
    "srn": lambda: SRN(stages=3, res_blocks=2),
    "srn-gru": lambda: SRN(stages=2, res_blocks=1, cell="gru", mapping="direct"),
    "brn": lambda: BRN(stages=2),
    "resguidenet": lambda: ResGuideNet(blocks=3, recursions=2),
    "rranet": lambda: RRANet(stages=2, width=12),
}


@pytest.fixture(params=FAMILIES)
def model(request):
    torch.manual_seed(0)
    return FAMILIES[request.param]().eval()


@pytest.mark.parametrize(
    ("activation", "parameters", "plain"),
    [
        ("none", (), lambda x: x),
        ("relu", (), F.relu),
        ("leaky_relu", (0.2,), lambda x: F.leaky_relu(x, 0.2)),
        ("sigmoid", (), torch.sigmoid),
        ("tanh", (), torch.tanh),
    ],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_convolve_is_a_convolution_and_its_activation(activation, parameters, plain, layout):
    torch.manual_seed(0)
    x = torch.randn(2, 5, 9, 7).to(memory_format=layout)
    weight, bias = torch.randn(8, 5, 3, 3), torch.randn(8)
    expected = plain(F.conv2d(x, weight, bias, padding=1))
    torch.testing.assert_close(convolve(x, weight, bias, activation, *parameters), expected)
    with torch.no_grad():
        torch.testing.assert_close(convolve(x, weight, bias, activation, *parameters), expected)
        left, right = convolve_parts(
            x, weight, bias, (activation, "sigmoid") if not parameters else ("relu", "sigmoid")
        )
    raw = F.conv2d(x, weight, bias, padding=1)
    torch.testing.assert_close(left, plain(raw[:, :4]) if not parameters else raw[:, :4].relu())
    torch.testing.assert_close(right, raw[:, 4:].sigmoid())


def test_gradients_pass_through_convolve():
    torch.manual_seed(0)
    x = torch.randn(1, 3, 6, 5).to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(4, 3, 3, 3, requires_grad=True)
    convolve(x, weight, None, "relu").sum().backward()
    ours = weight.grad.clone(), x.grad.clone()
    weight.grad = x.grad = None
    F.relu(F.conv2d(x, weight, padding=1)).sum().backward()
    torch.testing.assert_close(ours, (weight.grad, x.grad))


def test_tanh_and_sums():
    x = torch.linspace(-30, 30, 10_001).requires_grad_()
    with torch.no_grad():
        assert (precision.tanh(x) - x.double().tanh()).abs().max() < 2e-7
        narrow, wide = torch.ones(3, dtype=torch.bfloat16), torch.full((3,), 1e-3)
        both = precision.plus(narrow, wide)
        assert both.dtype == torch.float32
        assert (both == 1.001).all()
        assert (narrow == 1).all()
        assert precision.plus(both, narrow) is both
    assert torch.equal(precision.tanh(x), x.tanh())
    assert precision.tanh(x).requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounded_kernels_keep_their_sums(dtype):
    torch.manual_seed(0)
    weight = torch.randn(16, 12, 3, 3) * 0.1
    rounded = round_kernels(weight, dtype)
    plain = weight.to(dtype)
    assert rounded.dtype == dtype
    # No tap is farther off than two steps of rounding of the largest.
    step = torch.finfo(dtype).eps * weight.abs().amax((2, 3), keepdim=True)
    assert ((rounded - weight).abs() <= step).all()

    def error(kernels):
        return (kernels.float().sum((2, 3)) - weight.sum((2, 3))).abs().mean()

    assert error(rounded) < error(plain) / 10


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_errors_of_rounded_kernels_cancel_in_smooth_pictures(dtype):
    """Better than if only the sum of each kernel were kept: that leaves 0.12 of the error."""

    def left_of_the_error(seed):
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(16, 16, 3, 3, generator=generator) * 0.1
        smooth = F.avg_pool2d(torch.rand(1, 16, 60, 60, generator=generator), 5, 1)
        exact = F.conv2d(smooth, weight)
        rounded, plain = (
            (F.conv2d(smooth, kernels.float()) - exact).abs().mean()
            for kernels in (round_kernels(weight, dtype), weight.to(dtype))
        )
        return rounded / plain

    assert sum(left_of_the_error(seed) for seed in range(6)) / 6 < 0.1


@pytest.mark.parametrize("size", [1, 5, 9])
def test_kernels_of_any_size_are_rounded(size):
    torch.manual_seed(0)
    weight = torch.randn(4, 3, size, size) * 0.1
    rounded = round_kernels(weight, torch.bfloat16)
    assert rounded.shape == weight.shape
    assert (rounded - weight).abs().max() < 2**-8 * weight.abs().max()
    if size == 1:  # nothing to share with
        assert torch.equal(rounded, weight.bfloat16())
        return
    ours, plain = (
        (kernels.float() - weight).sum((2, 3)).abs().mean()
        for kernels in (rounded, weight.bfloat16())
    )
    assert ours < plain / 30


def test_float32_equals_a_plain_forward(model):
    torch.manual_seed(1)
    rainy = torch.rand(1, 3, 33, 40)
    with torch.inference_mode():
        expected = model(rainy).clamp(0, 1)
    result = model.derain(rainy, precision="32")
    assert (result - expected).abs().max() < 2e-6


def test_half_precision_stays_close(model):
    """Far closer than autocast, which halves everything."""
    torch.manual_seed(1)
    rainy = F.avg_pool2d(torch.rand(1, 3, 70, 70), 5, 1).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        whole = model(rainy)
        with computing_in(torch.bfloat16):
            ours = model(rainy)
        with torch.autocast("cpu", torch.bfloat16):
            autocast = model(rainy).float()
    assert ours.dtype == torch.float32
    error = (ours - whole).abs()
    assert 0 < error.max() < 8 / 255
    assert error.mean() < (autocast - whole).abs().mean()


@pytest.mark.parametrize("family", ["srn", "srn-gru", "brn"])
def test_the_first_state_of_a_cell_is_exact_in_half_precision(family):
    """The stages that follow build on it: rounding it moves single pixels by 16 levels."""
    torch.manual_seed(0)
    model = FAMILIES[family]().eval()
    y = torch.rand(1, 3, 20, 24).to(memory_format=torch.channels_last)

    def states():
        if family == "brn":
            first = model.stage(y, y, y, None, None)
            return [first[2], model.stage(y, *first)[2]]
        x, first = model.stage(y, y, None)
        return [first, model.stage(y, x, first)[1]]

    with torch.inference_mode():
        exact = states()
        with computing_in(torch.bfloat16):
            half = states()
    for ours, theirs in zip(half[0], exact[0], strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(half[1][0].float(), exact[1][0])


def test_half_precision_ends_with_its_block(model):
    rainy = torch.rand(1, 3, 24, 24)
    with torch.inference_mode():
        before = model(rainy)
        with computing_in(torch.bfloat16):
            assert not torch.equal(model(rainy), before)
        assert torch.equal(model(rainy), before)


@pytest.mark.parametrize("family", ["srn", "srn-gru", "brn"])
def test_zeros_on_the_right_change_nothing(family, monkeypatch):
    monkeypatch.setattr(precision, "_amx", lambda: True)
    torch.manual_seed(0)
    network = FAMILIES[family]().requires_grad_(False)
    for parameter in network.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.1)  # biases too
    rainy = torch.rand(1, 3, 9, 95).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), computing_in(torch.bfloat16):
        with widened(rainy, network.fast_columns) as wide:
            assert wide.shape[3] == 96
            clean = network(wide)
        assert (clean[..., 95:] == 0).all()
        assert torch.allclose(clean[..., :95], network(rainy), atol=2e-3)


def test_an_image_is_widened_only_where_it_is_faster(monkeypatch):
    def width(of, amx=True, dtype=torch.bfloat16, multiple=16):
        monkeypatch.setattr(precision, "_amx", lambda: amx)
        with computing_in(dtype), widened(torch.rand(1, 3, 2, of), multiple) as image:
            return image.shape[3]

    assert width(500) == 512
    assert width(17) == 17
    assert width(500, multiple=1) == width(500, amx=False) == width(500, dtype=None) == 500


def test_weights_are_rounded_once_until_they_change(monkeypatch):
    counted = []
    monkeypatch.setattr(
        precision, "round_kernels", lambda w, dtype: counted.append(1) or round_kernels(w, dtype)
    )
    torch.manual_seed(0)
    model, rainy = SRN(stages=3, res_blocks=1).eval(), torch.rand(1, 3, 16, 16)
    with torch.inference_mode(), computing_in(torch.bfloat16):
        before = model(rainy)
        model(rainy)
    assert len(counted) == 3  # the gates, whatever of them a stage leaves out, and a ResBlock's two
    with torch.no_grad():
        model.f_recurrent.gates.weight.mul_(1.5)
    copied = copy.deepcopy(model)
    for changed in (model, copied):
        with torch.inference_mode(), computing_in(torch.bfloat16):
            assert not torch.equal(changed(rainy), before)
    assert len(counted) == 3 + 1 + 3
    with torch.inference_mode():  # made here, weights have no version
        born, z = ConvLSTM(16, 16), torch.rand(1, 16, 8, 8)
        with computing_in(torch.bfloat16):
            before = born(z, None)[0]
        born.gates.weight.mul_(1.5)
        with computing_in(torch.bfloat16):
            assert not torch.equal(born(z, None)[0], before)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("way", ["fused", "data"])
def test_a_step_that_no_weight_counts_is_noticed(way, dtype):
    """Neither raises a tensor's version; the second is how a moving average takes its place."""
    torch.manual_seed(0)
    model, rainy = DRN(stages=2), torch.rand(1, 3, 20, 20)
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=True)

    def derained(network):
        with torch.inference_mode(), computing_in(dtype):
            return network(rainy.contiguous(memory_format=torch.channels_last))

    before = derained(model)
    if way == "fused":
        model(rainy).square().mean().backward()
        optimizer.step()
    else:
        for weight in model.parameters():
            weight.data.mul_(0.5)
    changed = derained(model)
    assert not torch.allclose(changed, before, atol=1e-3)
    assert torch.equal(changed, derained(copy.deepcopy(model)))


def test_fast_is_float32_where_half_is_not_native(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert dtype_of("fast", CPU) is None
    model, rainy = FAMILIES["drn"](), torch.rand(1, 3, 20, 20)
    assert torch.equal(model.derain(rainy, precision="fast"), model.derain(rainy))
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert dtype_of("fast", CPU) == torch.bfloat16
    assert dtype_of("fast", torch.device("cuda")) == torch.float16
    assert dtype_of("32", torch.device("cuda")) is None
    with pytest.raises(ConfigError, match="precision is '32' or 'fast', not 'bf16'"):
        model.derain(rainy, precision="bf16")


def test_stages_auto_stops_where_nothing_changes():
    images = [torch.zeros(1, 3, 4, 4) + level / 255 for level in (0, 9, 12, 12.5, 40)]
    assert engine.settle(images) == 4
    assert engine.settle(images[:3]) == 3
    # Each image of a batch for itself: still ones do not stop one that goes on changing.
    still = torch.zeros(8, 3, 4, 4)
    assert engine.settle(torch.cat([image, still]) for image in images) == 4
    torch.manual_seed(0)
    model = DRN(stages=5, recursions=1, channels=2)
    with torch.no_grad():
        for parameter in model.f_out.parameters():
            parameter.zero_()
    rainy = torch.rand(1, 3, 210, 8)
    model.derain(rainy, stages="auto")
    assert model.stages_run == 2  # x_1 = x_2 = y
    assert engine.middle(rainy).shape == (1, 3, 192, 8)
    model.derain(rainy)
    assert model.stages_run is None


@pytest.mark.parametrize(
    ("ensemble", "mirrored"), [(2, [(), (3,)]), (4, [(), (3,), (2,), (2, 3)])], ids=["2", "4"]
)
def test_the_ensemble_averages_mirror_images(ensemble, mirrored):
    torch.manual_seed(0)
    model = DRN(stages=1, recursions=1, channels=4).eval()
    rainy = torch.rand(2, 3, 9, 12)
    with torch.inference_mode():
        views = [model(rainy.flip(dims)).flip(dims) for dims in mirrored]
    expected = torch.stack(views).mean(0).clamp(0, 1)
    derained = model.derain(rainy, ensemble=ensemble)
    torch.testing.assert_close(derained, expected, atol=1e-5, rtol=1e-5)


def test_the_ensemble_never_lays_the_rain_on_its_side():
    """A network that removes what falls leaves it in a quarter turn; the mean would keep some."""

    class Falling(DRN):
        def unroll(self, rainy):
            yield Stage(rainy - rainy.mean(2, keepdim=True))

    streak = torch.zeros(1, 3, 9, 9)
    streak[..., 4] = 1
    model = Falling(stages=1, recursions=1, channels=4).eval()
    for ensemble in (1, 2, 4):
        assert model.derain(streak, ensemble=ensemble).abs().max() < 1e-6
    with pytest.raises(ConfigError, match="ensemble is 1, 2 or 4, not 8"):
        model.derain(streak, ensemble=8)


def test_compile_refuses_fast(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    with pytest.raises(ConfigError, match="precision 'fast' is for the torch backend"):
        DRN().derain(torch.rand(3, 8, 8), precision="fast", compile=True)


@pytest.mark.slow
def test_compiled_equals_eager_at_any_size():
    model = DRN(stages=2, recursions=2).eval()
    for size in ((40, 50), (33, 61), (70, 20)):
        rainy = torch.rand(1, 3, *size)
        ours = model.derain(rainy, compile=True)
        torch.testing.assert_close(ours, model.derain(rainy), atol=1e-5, rtol=1e-5)
    assert not any("made" in key for key in model.state_dict())


def test_the_first_stage_leaves_zeros_out():
    """As a cell that is fed the zeros."""
    torch.manual_seed(0)
    cell, z, other = ConvLSTM(16, 8), torch.randn(1, 8, 6, 7), torch.randn(1, 8, 6, 7)
    zero = torch.zeros_like(z)
    torch.testing.assert_close(cell(z, None, other), cell(z, (zero, zero), other))
    torch.testing.assert_close(cell(z, None, None), cell(z, (zero, zero), zero))
    gru = ConvGRU(8, 8)
    torch.testing.assert_close(gru(z, None), gru(z, (zero,)))


@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists() or platform.libc_ver()[0] != "glibc",
    reason="a Linux kernel with huge pages, and glibc",
)
def test_what_is_kept_lies_in_huge_pages():
    # In a process of its own: this one may hand out first what it has let go, in small pages.
    code = """
import torch
from raincleave.inference.memory import keeping_memory
def flags(tensor):
    inside = False
    for line in open("/proc/self/smaps"):
        first = line.split()[0]
        if "-" in first and not first.endswith(":"):
            low, high = (int(end, 16) for end in first.split("-"))
            inside = low <= tensor.data_ptr() + tensor.nbytes // 2 < high
        elif inside and first == "VmFlags:":
            return line.split()
print("hg" in flags(torch.ones(1 << 24)))
with keeping_memory(torch.device("cpu")):
    print("hg" in flags(torch.ones(1 << 24)))
print("hg" in flags(torch.ones(1 << 24)))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False", "True", "False"]


def test_memory_is_kept_only_within(monkeypatch):
    calls = []
    monkeypatch.setattr(memory, "_allocator", lambda *call: calls.append(call) or True)
    with memory.keeping_memory(torch.device("cuda")):
        assert not calls
    with memory.keeping_memory(CPU):
        assert calls == [(memory._MMAP_MAX, 0), (memory._TRIM_THRESHOLD, 2**31 - 1)]
    assert (memory._MMAP_MAX, 65536) in calls
    monkeypatch.setattr(memory, "_allocator", lambda *call: calls.append(call) or False)
    calls.clear()
    with memory.keeping_memory(CPU):  # another C library
        assert len(calls) == 1
