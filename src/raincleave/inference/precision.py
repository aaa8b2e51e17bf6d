"""Convolutions as inference runs them: fused with their activation, in half precision if asked.

Half precision through all of a recurrent network moves single pixels by tens of 8-bit levels. Here
it does not, for four reasons. Convolutions that read or write images stay in float32. Sums over
stages stay in float32, and so does a recurrent cell's first state, on which all the others build.
And weights are rounded so that the errors of a kernel's nine taps cancel where its input is smooth,
which it mostly is.
"""

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from raincleave.errors import ConfigError
from raincleave.inference.columns import for_columns, for_pairs, regroup

Precision = Literal["32", "fast"]
Activation = Literal["none", "relu", "leaky_relu", "sigmoid", "tanh"]

_ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "none": lambda x: x,
    "relu": lambda x: F.relu(x, inplace=True),
    "leaky_relu": lambda x, slope: F.leaky_relu(x, slope, inplace=True),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}
_CORRELATION = 0.9
"""Of neighbouring pixels of a convolution's input. Between 0.8 and 0.95 it makes no difference."""
_IMAGE_CHANNELS = 9
"""Convolutions that read so many channels or fewer, or write three, have to do with images."""


_half: ContextVar[torch.dtype | None] = ContextVar("half", default=None)
_width: ContextVar[int | None] = ContextVar("width", default=None)
"""Where the image ends, if zeros were put on its right."""
_call: ContextVar[object | None] = ContextVar("call", default=None)
"""Stands for the outermost `computing_in`, during which weights do not change."""


class _Made(NamedTuple):
    """What was made of a weight, from which values, and when they were last compared."""

    values: Tensor
    result: Tensor
    call: object | None


_made: MutableMapping[Tensor, dict[object, _Made]] = WeakTensorKeyDictionary()


@contextmanager
def computing_in(dtype: torch.dtype | None) -> Iterator[None]:
    """Within, `convolve` computes features in this type of half precision; None is float32.

    Weights must not change meanwhile.
    """
    half, call = _half.set(dtype), _call.set(_call.get() or object())
    try:
        yield
    finally:
        _call.reset(call)
        _half.reset(half)


@contextmanager
def widened(image: Tensor, multiple: int) -> Iterator[Tensor]:
    """Where that is faster, an image with zeros on its right; within, `convolve` leaves them zero.

    To what is left of them they are the zeros beyond the border, so nothing changes. It is faster
    in bfloat16 with AMX, whose convolutions lose up to a fifth of their time in other widths.

    Args:
        image: (B, C, H, W).
        multiple: of which the width is to be one.

    Yields:
        (B, C, H, W'), W' ≥ W.
    """
    width = image.shape[3]
    more = -width % multiple
    pays = 0 < more <= width // 16 and image.device.type == "cpu" and _amx()
    if not pays or _half.get() != torch.bfloat16:
        yield image
        return
    token = _width.set(width)
    try:
        yield F.pad(image, (0, more))
    finally:
        _width.reset(token)


def dtype_of(precision: Precision, device: torch.device) -> torch.dtype | None:
    """The half-precision type that ``"fast"`` means on a device; None for float32.

    That is float16 on CUDA, bfloat16 on processors with AVX512-BF16 or AMX, and float32 elsewhere,
    where half precision is emulated and slow.

    Raises:
        ConfigError: there is no such precision.
    """
    if precision not in ("32", "fast"):
        raise ConfigError(f"precision is '32' or 'fast', not {precision!r}.")
    if precision == "32":
        return None
    if device.type == "cuda":
        return torch.float16
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    native = device.type == "cpu" and any(getattr(torch.cpu, n, lambda: False)() for n in names)
    return torch.bfloat16 if native else None


def round_kernels(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Round a convolution's weights so that the errors of a kernel's taps cancel.

    From the largest tap of a kernel to the smallest, what rounding one tap lost is shared among
    those not yet rounded, nearer ones first: as predicted best from them where the pixels of the
    input are correlated by 0.9 to the power of their distance (optimal brain quantisation, with
    that for a Hessian). To a smooth input what remains is little.

    Args:
        weight: (O, I, h, w), float32.
        dtype: a narrower floating-point type.

    Returns:
        (O, I, h, w), of that type.
    """
    taps = weight.flatten(2).flatten(0, 1)
    order = taps.abs().argsort(1)
    places = torch.cartesian_prod(*(torch.arange(float(n)) for n in weight.shape[2:])).view(-1, 2)
    correlation = _CORRELATION ** torch.cdist(places, places).to(taps)
    factor = torch.linalg.cholesky(correlation[order[:, :, None], order[:, None]])
    # Row k, over its last number: minus what predicts tap k best from those before it.
    shares = torch.linalg.solve_triangular(
        factor, torch.eye(taps.shape[1]).to(factor).expand_as(factor), upper=False
    )
    taps = taps.gather(1, order)
    rounded = torch.empty_like(taps, dtype=dtype)
    for k in reversed(range(taps.shape[1])):
        rounded[:, k] = taps[:, k]
        lost = (taps[:, k] - rounded[:, k]) / shares[:, k, k]
        taps[:, :k] -= lost[:, None] * shares[:, k, :k]
    return torch.empty_like(rounded).scatter_(1, order, rounded).view(weight.shape)


def as_computed(weight: Tensor) -> Tensor:
    """A weight as `convolve` computes with it: rounded once within `computing_in`, else itself.

    For those who cut a weight into pieces, each of which would have to be rounded anew.
    """
    half = None if torch.compiler.is_dynamo_compiling() else _half.get()
    if half is None or weight.dtype == half or not _between_features(weight):
        return weight
    return _once(weight, half, lambda exact: round_kernels(exact, half))


def _once(weight: Tensor, what: object, make: Callable[[Tensor], Tensor]) -> Tensor:
    """What is made of a weight, made anew only when its values change.

    They are compared: a tensor's own count of changes misses those of fused optimisers, of moving
    averages and of all that is done to its ``data``.
    """
    made, call = _made.setdefault(weight, {}), _call.get()
    known = made.get(what)
    if known is not None and known.call is call is not None:
        return known.result
    if known is not None and same_values(known.values, weight):
        result = known.result
    else:
        with torch.inference_mode(False):
            values = weight.detach().clone()
            result = make(values)
        known = _Made(values, result, call)
    made[what] = known._replace(call=call)
    return result


def same_values(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal, of one type and on one device too."""
    return a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)


def _between_features(weight: Tensor) -> bool:
    return weight.shape[0] > 3 and weight.shape[1] > _IMAGE_CHANNELS


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: Activation = "none",
    *parameters: float,
    added: Tensor | None = None,
) -> Tensor:
    """A convolution that keeps height and width, and the activation behind it.

    Both are one pass over memory on a CPU where no gradient is asked for and the layout is
    channels_last, else two.

    Args:
        x: (B, I, H, W).
        weight: (O, I, k, k), k odd.
        bias: (O,).
        activation: what is applied to the result.
        *parameters: of the activation; the slope of ``"leaky_relu"``.
        added: (B, O, H, W), added to the convolution's result before the activation.

    Returns:
        (B, O, H, W), of x's type; within `computing_in` features come in that type.
    """
    # Not is_compiling(), which is true in every thread while one of them exports a network.
    compiling = torch.compiler.is_dynamo_compiling()
    half = None if compiling else _half.get()
    if half is not None:
        weight = as_computed(weight)
        x = x.to(weight.dtype)
    if _fusable(x):
        result = _fused(x, weight, bias, activation, parameters, added=added)
    else:
        if half is not None and bias is not None:
            bias = bias.to(x.dtype)
        result = F.conv2d(x, weight, bias, padding=weight.shape[2] // 2)
        if added is not None:
            result = result + added
        result = _ACTIVATIONS[activation](result, *parameters)
    if half is not None and weight.shape[0] > 3:
        result = result.to(half)
    width = None if compiling else _width.get()
    if width is not None:
        result[..., width:] = 0
    return result


def _fused(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: Activation,
    parameters: Sequence[float],
    *,
    added: Tensor | None,
) -> Tensor:
    """`convolve` where `_fusable`, for several columns at once where that is faster."""
    outputs, inputs, size, _ = weight.shape
    stride = 1
    if x.dtype == torch.bfloat16 and _pays_in_pairs(x, weight):
        x, weight = regroup(x, 2 * inputs), _once(weight, "pairs", for_pairs)
        added = added if added is None else regroup(added, 2 * outputs)
    elif x.dtype == torch.float32 and outputs <= 3 and size == 3 and added is None:
        # Of the 16 numbers that the processor computes at once, only the outputs are of use.
        stride = next(k for k in (5, 4, 3, 2, 1) if x.shape[3] % k == 0)
        weight = _once(weight, stride, lambda given: for_columns(given, stride))
    together = weight.shape[0] // outputs
    if bias is not None and together > 1:
        bias = bias.repeat(together)
    layout = [size // 2] * 2, [1, stride], [1, 1], 1
    fused = torch.ops.mkldnn._convolution_pointwise
    if added is None:
        result = fused(x, weight, bias, *layout, activation, list(parameters), "")
    else:
        other = added.to(x.dtype)
        result = fused.binary(x, other, weight, bias, *layout, "add", 1.0, None, [], None)
        result = _ACTIVATIONS[activation](result, *parameters)
    return regroup(result, outputs) if together > 1 else result


def _pays_in_pairs(x: Tensor, weight: Tensor) -> bool:
    """AMX multiplies 32 channels at a time, or 16 in the time of 32."""
    return _amx() and max(weight.shape[:2]) <= 16 and weight.shape[3] == 3 and x.shape[3] % 2 == 0


def convolve_parts(
    x: Tensor, weight: Tensor, bias: Tensor | None, activations: Sequence[Activation]
) -> list[Tensor]:
    """`convolve`, the outputs cut into equal parts, each with an activation of its own."""
    count = len(activations)
    if bias is not None and _fusable(x):
        # One by one: each part then lies in one piece of memory.
        pieces = zip(weight.chunk(count), bias.chunk(count), activations, strict=True)
        return [convolve(x, *piece) for piece in pieces]
    parts = convolve(x, weight, bias).chunk(count, 1)
    if parts[0].dtype == torch.bfloat16 and parts[0].device.type == "cpu":
        # There the sigmoid of some of the channels takes seven times what it does in one piece.
        parts = tuple(part.clone() for part in parts)
    return [_ACTIVATIONS[name](part) for name, part in zip(activations, parts, strict=True)]


def plus(a: Tensor, b: Tensor) -> Tensor:
    """A + b, of the wider type of both.

    Where no gradient is asked for, in the memory of a if the type allows it, which must be of no
    more use.
    """
    if torch.is_grad_enabled():
        return a + b
    return (a if a.dtype.itemsize >= b.dtype.itemsize else a.to(b.dtype)).add_(b)


def times(a: Tensor, b: Tensor) -> Tensor:
    """A · b, both of one type.

    Where no gradient is asked for, in the memory of a, which must be of no more use.
    """
    return a * b if torch.is_grad_enabled() else a.mul_(b)


def blend(f: Tensor, c: Tensor, i: Tensor, g: Tensor) -> Tensor:
    """f·c + i·g, of the type of c; f must be of no more use, see `times`."""
    if torch.is_grad_enabled():
        return f * c + i * g
    return f.to(c.dtype).mul_(c).addcmul_(i.to(c.dtype), g.to(c.dtype))


def float32_if(wanted: bool) -> AbstractContextManager[None]:
    """Where wanted, `convolve` computes in float32, within `computing_in` too."""
    inside = wanted and not torch.compiler.is_dynamo_compiling()
    return computing_in(None) if inside else nullcontext()


def in_full(x: Tensor) -> Tensor:
    """X in float32 within `computing_in`, for products and sums worth it; as it is elsewhere."""
    half = None if torch.compiler.is_dynamo_compiling() else _half.get()
    return x if half is None else x.float()


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent.

    In float32 on a CPU, where no gradient is asked for, as 2·σ(2x) − 1: a third of the time, within
    2e-7.
    """
    slow = x.device.type == "cpu" and x.dtype == torch.float32 and not _amx()
    if not slow or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return x.tanh()
    return (2 * x).sigmoid_().mul_(2).sub_(1)


def _fusable(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and (x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and _bf16_works()))
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()
        and x.is_contiguous(memory_format=torch.channels_last)
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    )


def _amx() -> bool:
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())


def _bf16_works() -> bool:
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()
