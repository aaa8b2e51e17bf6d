"""What a training step of DRN costs: raincleave's against the same network as papers' code has it.

    python examples/bench_train.py                # one DRN 7x7 step on 16 patches of 100x100
    python examples/bench_train.py --patch 48 --batch 2 --rounds 1        # a quick look

``plain`` is float32, NCHW, five dense 11x11 windows for SSIM, Adam as it comes. ``raincleave`` is
what `raincleave fit` does: channels_last, bfloat16 where the processor has it, the loss in float32
with a separable window, fused Adam; but fit keeps memory from step to step too, which here plain
would gain from as well. The two take turns, so that a busy machine slows both. The second table is
the memory of a step above the idle process, each in a process of its own, with and without
``checkpoint_stages``.

Seen on one core of an AMD EPYC with avx512_bf16 (its matrix products: 85 GFLOP/s in float32, 214 in
bfloat16): plain 9.3 s, raincleave 3.3 s, 2.8 times as fast; memory 1920 MiB, with checkpoint_stages
360 MiB (19 %); ``--compile`` made a step 10 % slower. A step is 442 GFLOP, nearly all of them in
convolutions of 16 channels, of which raincleave reaches 62 % of the core's peak.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raincleave.inference.memory import peak_bytes
from raincleave.losses import negative_ssim, stage_losses
from raincleave.models import DRN
from raincleave.training import compile_stages, native_precision

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class PlainDRN(nn.Module):
    """DRN written as the papers' repositories write such networks: `nn.Sequential`, ReLU, NCHW."""

    def __init__(self, stages: int, recursions: int) -> None:
        super().__init__()
        self.stages, self.recursions = stages, recursions
        self.f_in = nn.Sequential(nn.Conv2d(6, 16, 3, 1, 1), nn.ReLU())
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU()
            )
            for _ in range(2)
        )
        self.f_out = nn.Conv2d(16, 3, 3, 1, 1)

    def forward(self, y: Tensor) -> list[Tensor]:
        """(B, 3, H, W) → every stage's image."""
        x, results = y, []
        for _ in range(self.stages):
            h = self.f_in(torch.cat((y, x), 1))
            for _ in range(self.recursions):
                for block in self.blocks:
                    h = F.relu(block(h) + h)
            x = y + self.f_out(h)
            results.append(x)
        return results


def dense_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Mean SSIM with a dense 11x11 Gaussian window, the implementation in general use."""
    taps = torch.exp(-((torch.arange(11.0, device=x.device) - 5) ** 2) / (2 * 1.5**2))
    taps = taps / taps.sum()
    window = torch.outer(taps, taps).expand(3, 1, 11, 11).contiguous()

    def blur(image: Tensor) -> Tensor:
        return F.conv2d(image, window, padding=5, groups=3)

    mx, my = blur(x), blur(y)
    sxx, syy, sxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    similar = (2 * mx * my + c1) * (2 * sxy + c2)
    return (similar / ((mx * mx + my * my + c1) * (sxx + syy + c2))).mean()


def plain_step(args: argparse.Namespace, rainy: Tensor, clean: Tensor) -> Callable[[], float]:
    """One training step of the plain network, to be called again and again; returns the loss."""
    torch.manual_seed(0)
    model = PlainDRN(args.stages, args.recursions).to(DEVICE)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    weights = DRN(stages=args.stages).stage_weights(args.stages)

    def step() -> float:
        optimizer.zero_grad()
        results = model(rainy)
        loss = sum(w * -dense_ssim(x, clean) for w, x in zip(weights, results, strict=True))
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def our_step(args: argparse.Namespace, rainy: Tensor, clean: Tensor) -> Callable[[], float]:
    """One training step as `raincleave fit` runs it, to be called again and again."""
    torch.manual_seed(0)
    model = DRN(args.stages, args.recursions, checkpoint_stages=args.checkpoint_stages)
    model.to(DEVICE, memory_format=torch.channels_last).train()
    if args.compile:
        compile_stages(model)
    optimizer = model.published_optimizer()
    weights = torch.tensor(model.stage_weights(args.stages), device=DEVICE)
    bf16 = native_precision() == "bf16-mixed"

    def step() -> float:
        optimizer.zero_grad()
        with torch.autocast(DEVICE, torch.bfloat16, enabled=bf16):
            results = [stage.background for stage in model.unroll(rainy)]
            loss = (stage_losses(negative_ssim, results, clean) * weights).sum()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def batch(args: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Rainy and clean patches that nobody needs to have: smooth noise, and stripes on it."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(args.batch, 3, 8, 8, generator=generator)
    clean = F.interpolate(coarse, size=args.patch, mode="bilinear")
    rain = 0.3 * (torch.rand(args.batch, 1, 1, args.patch, generator=generator) > 0.8)
    return (clean + rain).clamp(0, 1).to(DEVICE), clean.to(DEVICE)


def timed(args: argparse.Namespace) -> None:
    """Print the times of both and their ratio."""
    rainy, clean = batch(args)
    steps = {"plain": plain_step(args, rainy, clean), "raincleave": our_step(args, rainy, clean)}
    first = {name: step() for name, step in steps.items()}  # warm-up, and both compute the same
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    plain, ours = (median(values) for values in seconds.values())
    print(
        f"DRN {args.stages}x{args.recursions}, {args.batch} x {args.patch} x {args.patch}, {DEVICE}"
    )
    print(f"plain       {1000 * plain:9.1f} ms   float32     first loss {first['plain']:.4f}")
    name = native_precision()
    print(f"raincleave  {1000 * ours:9.1f} ms   {name:<11} first loss {first['raincleave']:.4f}")
    print(f"ratio       {plain / ours:9.2f} x")


def peak(args: argparse.Namespace) -> None:
    """Print the memory of a step in bytes, above what the process had before it, if it tells."""
    rainy, clean = batch(args)
    # A tiny step first: libraries and kernels are loaded.
    small = argparse.Namespace(**{**vars(args), "stages": 1, "recursions": 1})
    our_step(small, rainy[:1, :, :16, :16], clean[:1, :, :16, :16])()
    step = our_step(args, rainy, clean)
    print(json.dumps(peak_bytes(step, torch.device(DEVICE))))


def memory(args: argparse.Namespace) -> None:
    """Print the memory with and without recomputed stages."""
    used = []
    for option in ([], ["--checkpoint-stages"]):
        words = [sys.executable, __file__, "--peak", *option]
        words += [f"--{key}={getattr(args, key)}" for key in ("batch", "patch", "stages")]
        words += [f"--recursions={args.recursions}"]
        used.append(json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout))
    if None in used:
        print("the memory of a step cannot be told here; Linux and CUDA tell it")
        return
    print(f"memory of a step        {used[0] / 2**20:7.0f} MiB")
    print(f"with checkpoint_stages  {used[1] / 2**20:7.0f} MiB   {100 * used[1] / used[0]:.0f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--patch", type=int, default=100)
    parser.add_argument("--stages", type=int, default=7)
    parser.add_argument("--recursions", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="torch.compile of the stages")
    parser.add_argument("--checkpoint-stages", action="store_true", help="recompute the stages")
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        peak(args)
    else:
        timed(args)
        memory(args)


if __name__ == "__main__":
    main()
