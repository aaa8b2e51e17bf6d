"""What the papers minimise: negative SSIM, MSE, MSE + log(1/SSIM), and their sum over stages."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

_K1, _K2, _SIGMA, _RADIUS = 0.01, 0.03, 1.5, 5

Loss = Callable[[Tensor, Tensor], Tensor]
"""(estimates (B, C, H, W), truth (B, C, H, W)) → (B,), one value an image; the estimates of several
stages, (T, B, C, H, W), → (T, B)."""


@lru_cache(maxsize=32)
def _window(size: int, device: torch.device) -> Tensor:
    """(size, size) banded matrix: multiplying with it is the 1-D Gaussian of 11 taps, zero-padded.

    Two small matrix products are the separable window; they run several times faster, forward and
    backward, than depthwise convolutions do on a CPU.
    """
    # Kept for all to come, so it must not be a tensor that no gradient may pass.
    with torch.inference_mode(False):
        offset = torch.arange(size, dtype=torch.float64)
        distance = offset[:, None] - offset
        taps = torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float64)
        total = torch.exp(-(taps**2) / (2 * _SIGMA**2)).sum()
        band = torch.exp(-(distance**2) / (2 * _SIGMA**2)) / total
        return band.where(distance.abs() <= _RADIUS, 0).float().to(device)


def _blur(images: Tensor) -> Tensor:
    rows, columns = (_window(n, images.device) for n in images.shape[-2:])
    return rows @ images @ columns


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity as a training loss uses it: differentiable, float32, zero-padded.

    11×11 Gaussian window, σ = 1.5, K = (0.01, 0.03), range 1. To report results use
    `raincleave.metrics`, which follows the papers' evaluation scripts instead.

    Args:
        x: estimates, (B, C, H, W) or (T, B, C, H, W), about [0, 1].
        y: truth, (B, C, H, W).

    Returns:
        (B,) or (T, B), mean over channels and pixels, at most 1.

    Examples:
        >>> ssim(torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 16, 16), 0.6))
        tensor([0.9712])
    """
    with torch.autocast(x.device.type, enabled=False):
        x, y = x.float().contiguous(), y.float().contiguous()
        # Apart: of a truth that many estimates share, they are computed once.
        my, myy = _blur(torch.stack((y, y * y)))
        mx, mxx, mxy = _blur(torch.stack((x, x * x, x * y)))
        mx2, my2, mxmy = mx * mx, my * my, mx * my
        c1, c2 = _K1**2, _K2**2
        numerator = (2 * mxmy + c1) * (2 * (mxy - mxmy) + c2)
        denominator = (mx2 + my2 + c1) * ((mxx - mx2) + (myy - my2) + c2)
        return (numerator / denominator).mean((-3, -2, -1))


def negative_ssim(x: Tensor, y: Tensor) -> Tensor:
    """``−SSIM(x, y)`` (DRN, eq. 3; BRN, eq. 14; RRANet, eq. 1); (B,), at least −1.

    Examples:
        >>> negative_ssim(torch.ones(2, 3, 16, 16), torch.ones(2, 3, 16, 16))
        tensor([-1., -1.])
    """
    return -ssim(x, y)


def mse(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared error (BRN, Table I); (B,), in squared image units.

    Examples:
        >>> mse(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.5))
        tensor([0.2500])
    """
    return (x.float() - y.float()).square().mean((-3, -2, -1))


def mse_log_ssim(x: Tensor, y: Tensor) -> Tensor:
    """``MSE + log(1 / (SSIM + 1e-4))`` (ResGuideNet, section 3.3); (B,).

    A negative SSIM, as an untrained network can have, is taken as 0 so that the log exists.

    Examples:
        >>> mse_log_ssim(torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 16, 16), 0.6))
        tensor([0.0391])
    """
    return mse(x, y) - torch.log(ssim(x, y).clamp(min=0) + 1e-4)


def ssim_l1(x: Tensor, y: Tensor) -> Tensor:
    """``−SSIM + |x − y|``, not from the papers; (B,).

    SSIM alone barely sees a wrong brightness of a smooth region, which PSNR punishes most.

    Examples:
        >>> ssim_l1(torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 16, 16), 0.6))
        tensor([-0.8712])
    """
    return -ssim(x, y) + (x.float() - y.float()).abs().mean((-3, -2, -1))


def ssim_psnr(x: Tensor, y: Tensor) -> Tensor:
    """``−SSIM + log10(MSE + 1e-5)``, which is −SSIM − PSNR / 10, not from the papers; (B,).

    An error in a nearly dry image weighs as much here as it does in the mean of the PSNRs, where
    L1 leaves it to the images with much rain. The sum keeps the logarithm above that of 50 dB.

    Examples:
        >>> ssim_psnr(torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 16, 16), 0.6))
        tensor([-2.9708])
    """
    return -ssim(x, y) + torch.log10(mse(x, y) + 1e-5)


LOSSES: dict[str, Loss] = {
    "ssim": negative_ssim,
    "mse": mse,
    "mse_log_ssim": mse_log_ssim,
    "ssim_l1": ssim_l1,
    "ssim_psnr": ssim_psnr,
}
"""By the names that `Derainer` takes for its ``loss``."""


def stage_losses(loss: Loss, estimates: Sequence[Tensor], truth: Tensor) -> Tensor:
    """The loss of every stage in one call.

    Args:
        loss: one of `LOSSES`.
        estimates: the stages' images, each (B, C, H, W).
        truth: (B, C, H, W).

    Returns:
        (T,), mean over the batch.

    Examples:
        >>> truth = torch.full((2, 3, 4, 4), 0.5)
        >>> stage_losses(mse, [torch.zeros(2, 3, 4, 4), truth], truth)
        tensor([0.2500, 0.0000])
    """
    return loss(torch.stack([estimate.float() for estimate in estimates]), truth.float()).mean(1)
