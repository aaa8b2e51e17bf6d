"""Each network against its paper's equations, written out from the symbols with plain functions."""

import torch
import torch.nn.functional as F
from torch import Tensor

from raincleave.models import BRN, DRN, SRN, ResGuideNet, RRANet
from raincleave.models.layers import rlcn

Weights = dict[str, Tensor]


def images(size: int = 16) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def conv(w: Weights, name: str, *inputs: Tensor) -> Tensor:
    weight = w[f"{name}.weight"]
    return F.conv2d(torch.cat(inputs, 1), weight, w[f"{name}.bias"], padding=weight.shape[-1] // 2)


def res_block(w: Weights, name: str, h: Tensor) -> Tensor:
    return F.relu(F.relu(conv(w, f"{name}.conv2", F.relu(conv(w, f"{name}.conv1", h)))) + h)


def lstm(w: Weights, name: str, z: Tensor, h: Tensor, c: Tensor, *seen: Tensor):
    gates = conv(w, f"{name}.gates", z, h, *seen)
    n = h.shape[1]
    i, f, o = (torch.sigmoid(gates[:, k * n : (k + 1) * n]) for k in range(3))
    g = torch.tanh(gates[:, 3 * n :])
    c = f * c + i * g
    return o * torch.tanh(c), c


def test_drn_is_equation_1():
    model = DRN(stages=3, recursions=2).eval()
    w, y = model.state_dict(), images()
    x = y
    for stage in model.unroll(y):
        h = F.relu(conv(w, "f_in", y, x))
        for _ in range(2):
            h = res_block(w, "f_rec.0", h)
            h = res_block(w, "f_rec.1", h)
        x = y + conv(w, "f_out", h)
        torch.testing.assert_close(stage.background, x)


def test_srn_is_its_three_layers():
    for mapping, sees_rainy in (("residual", True), ("direct", True), ("residual", False)):
        model = SRN(stages=3, mapping=mapping, sees_rainy=sees_rainy, res_blocks=2).eval()
        w, y = model.state_dict(), images()
        x, h, c = y, torch.zeros(2, 32, 16, 16), torch.zeros(2, 32, 16, 16)
        for stage in model.unroll(y):
            z = F.relu(conv(w, "f_in", y, x) if sees_rainy else conv(w, "f_in", x))
            h, c = lstm(w, "f_recurrent", z, h, c)
            out = conv(w, "f_out", res_block(w, "f_res.1", res_block(w, "f_res.0", h)))
            x = y + out if mapping == "residual" else out
            torch.testing.assert_close(stage.background, x)


def test_srn_gru_updates_its_state_first():
    model = SRN(stages=2, mapping="direct", cell="gru", res_blocks=1).eval()
    w, y = model.state_dict(), images()
    x, h = y, torch.zeros(2, 32, 16, 16)
    for stage in model.unroll(y):
        z = F.relu(conv(w, "f_in", y, x))
        u, b = torch.sigmoid(conv(w, "f_recurrent.gates", z, h)).split(32, 1)
        g = torch.tanh(conv(w, "f_recurrent.candidate", b * h, z))
        h = (1 - u) * h + u * g
        x = conv(w, "f_out", res_block(w, "f_res.0", h))
        torch.testing.assert_close(stage.background, x)


def test_brn_couples_its_branches():
    for coupling in ("both", "r2x", "x2r", "none"):
        model = BRN(stages=3, coupling=coupling).eval()
        w, y = model.state_dict(), images()
        r = x = y
        zero = torch.zeros(2, 32, 16, 16)
        h_r = c_r = h_x = c_x = zero
        for stage in model.unroll(y):
            z = F.relu(conv(w, "f_r.f_in", y, r))
            seen = (h_x,) if coupling in ("both", "x2r") else ()
            h_r, c_r = lstm(w, "f_r.f_recurrent", z, h_r, c_r, *seen)
            r = h_r
            for k in range(3):
                r = res_block(w, f"f_r.f_res.{k}", r)
            r = conv(w, "f_r.f_out", r)
            z = F.relu(conv(w, "f_x.f_in", y, x, r))
            seen = (h_r,) if coupling in ("both", "r2x") else ()  # the new state of F_r
            h_x, c_x = lstm(w, "f_x.f_recurrent", z, h_x, c_x, *seen)
            x = h_x
            for k in range(5):
                x = res_block(w, f"f_x.f_res.{k}", x)
            x = conv(w, "f_x.f_out", x)
            torch.testing.assert_close(stage.background, x)
            torch.testing.assert_close(stage.rain, r)


def test_resguidenet_guides_every_block_by_all_residuals_before():
    model = ResGuideNet(blocks=3, recursions=2).eval()
    w, y = model.state_dict(), images()
    stages = list(model.unroll(y))
    x, residuals, backgrounds = y, [], []
    for k in range(3):
        s = s_0 = F.leaky_relu(conv(w, f"blocks.{k}.f_in", x), 0.2)
        for _ in range(2):
            a = F.leaky_relu(conv(w, f"blocks.{k}.a", s, *residuals), 0.2)
            s = F.leaky_relu(conv(w, f"blocks.{k}.b", a, *residuals), 0.2) + s_0
        residuals.append(conv(w, f"blocks.{k}.f_out", s, *residuals))
        x = y + residuals[-1]
        backgrounds.append(x)
        torch.testing.assert_close(stages[k].background, x)
    torch.testing.assert_close(stages[3].background, conv(w, "merge", *backgrounds))


def test_resguidenet_3_is_detached_from_the_same_weights():
    model = ResGuideNet(blocks=5, recursions=2).eval()
    y = images()
    shorter = ResGuideNet(blocks=3, recursions=2)
    shorter.load_state_dict(
        {
            k: v
            for k, v in model.state_dict().items()
            if k in shorter.state_dict() and "merge" not in k
        },
        strict=False,
    )
    detached = list(shorter.unroll(y))[2].background
    torch.testing.assert_close(model(y, stages=3), detached)


def brute_rlcn(image: Tensor, window: int) -> Tensor:
    out, r = torch.zeros_like(image), window // 2
    for b, c, i, j in torch.cartesian_prod(*(torch.arange(n) for n in image.shape)).tolist():
        block = image[b, c, max(0, i - r) : i + r + 1, max(0, j - r) : j + r + 1]
        value = max(float(image[b, c, i, j] - block.mean()), 0) / (float(block.std()) + 1e-5)
        out[b, c, i, j] = min(value, 1)
    return out


def test_rlcn_is_equation_2():
    image = images(12).double()
    torch.testing.assert_close(rlcn(image, 5), brute_rlcn(image, 5), atol=1e-6, rtol=1e-6)
    assert rlcn(torch.full((1, 3, 9, 9), 0.7)).abs().max() < 1e-3


def test_rranet_is_section_2():
    model = RRANet(stages=2, width=4, window=5).eval()
    w, i = model.state_dict(), images()
    ls = [rlcn(i, 5)]
    for _ in range(3):
        ls.append(F.max_pool2d(ls[-1], 2))
    b = i
    states = [(torch.zeros(2, 4 * 2**s, 16 >> s, 16 >> s),) * 2 for s in range(4)]
    for trace in model.trace(i):
        features, h = [], torch.cat((i, ls[0], b), 1)
        for s in range(4):
            h = F.relu(conv(w, f"f_in.{s}", h if s == 0 else F.max_pool2d(h, 2)))
            z = F.relu(conv(w, f"encoder.{s}.conv1", h))
            states[s] = lstm(w, f"encoder.{s}.lstm", z, *states[s])
            h = F.relu(conv(w, f"encoder.{s}.conv2", states[s][0]) + h)
            features.append(h)
        for d, s in enumerate((2, 1, 0)):
            name = f"decoder.{d}"
            f_dec = F.relu(conv(w, f"{name}.up", F.interpolate(h, scale_factor=2)))
            f = features[s]
            m = torch.sigmoid(
                conv(
                    w,
                    f"{name}.attention.w_a",
                    F.relu(
                        conv(w, f"{name}.attention.w", f)
                        + conv(w, f"{name}.attention.w_d", f_dec)
                        + conv(w, f"{name}.attention.w_l", ls[s])
                    ),
                )
            )
            torch.testing.assert_close(trace.attention[d], m)
            h = F.relu(conv(w, f"{name}.fuse", m * f, f_dec))
            h = F.relu(conv(w, f"{name}.conv2", F.relu(conv(w, f"{name}.conv1", h))) + h)
        b = i + conv(w, "f_out", h)
        torch.testing.assert_close(trace.background, b)
