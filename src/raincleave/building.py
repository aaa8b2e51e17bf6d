"""A network from what a file says of it: every name, argument and shape is checked before use."""

import inspect
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from raincleave.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

    from raincleave.models import Derainer

_MAX_COUNT = 1024
"""Whole numbers in our networks' arguments are counts; no file can ask for endless stages."""


def build(
    architecture: "str | type[Derainer]",
    arguments: dict[str, Any],
    weights: dict[str, Any],
    *,
    source: str = "the weights",
) -> "Derainer":
    """A network of the given architecture and constructor arguments, with these weights, in eval.

    Raises:
        CheckpointError: the architecture, an argument or a weight does not fit.
    """
    import torch

    cls = architecture if isinstance(architecture, type) else _find(architecture, source)
    _check_arguments(cls, arguments, source)
    try:
        with torch.random.fork_rng(devices=[]):  # loading leaves the user's seed alone
            # Without memory first: a file may claim more channels than it, or the machine, has.
            with torch.device("meta"):
                wanted = cls(**arguments).state_dict()
            _check_weights(wanted, weights, cls.__name__, source)
            # Whatever a program has made torch's defaults: the values must not be rounded.
            with torch.device("cpu"):
                model = cls(**arguments).float()
    except CheckpointError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise CheckpointError(
            f"{source} has arguments that {architecture} does not take ({reason})."
        ) from error
    model.load_state_dict(weights)
    return model.eval()


def _find(architecture: Any, source: str) -> type["Derainer"]:
    from raincleave import models

    found = [cls for cls in _subclasses(models.Derainer) if cls.__name__ == architecture]
    if not found:
        raise CheckpointError(
            f"{source} is for an unknown network {str(architecture)[:80]!r}; import its class "
            "first, or on the command line: raincleave predict --model MODULE.CLASS --ckpt_path."
        )
    # Ours, whoever else has one of that name; of a notebook's, whose cells run again, the newest.
    return ([cls for cls in found if is_ours(cls)] or found)[-1]


def is_ours(network: type[Any]) -> bool:
    """Whether a class is of this package, and so none of a user's own."""
    return network.__module__.startswith("raincleave.")


def _subclasses(base: type["Derainer"]) -> Iterator[type["Derainer"]]:
    for cls in base.__subclasses__():
        yield cls
        yield from _subclasses(cls)


def _check_arguments(cls: type["Derainer"], arguments: Any, source: str) -> None:
    if not isinstance(arguments, dict):
        raise CheckpointError(f"{source} gives no arguments by name.")
    known = parameters(cls)
    for key in arguments:
        if key not in known:
            raise CheckpointError(
                f"{source} has an argument {str(key)[:80]!r}, which {cls.__name__} does not take."
            )
    for key, value, _ in unfit(cls, arguments):
        raise CheckpointError(
            f"{source} has {key}={repr(value)[:80]}, which {cls.__name__} does not take."
        )


def unfit(network: type[Any], arguments: dict[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """The arguments that a constructor's annotations do not allow; of ours, counts below 1 too.

    Args:
        network: the class.
        arguments: of its constructor, by name.

    Yields:
        Name and value of each, and in a few words what it can be.
    """
    takers = parameters(network)
    annotations = {init: get_type_hints(init) for init in set(takers.values())}
    for key, value in arguments.items():
        hint = annotations[takers[key]].get(key, Any)
        is_count = isinstance(value, int) and not isinstance(value, bool) and is_ours(network)
        if _fits(value, hint) and not (is_count and not 1 <= value <= _MAX_COUNT):
            continue
        kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        words = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
        if words:
            yield key, value, f"choose from {', '.join(words)}"
        elif int in kinds:
            yield key, value, f"it is a whole number from 1 to {_MAX_COUNT}"
        else:
            yield key, value, f"it is {' or '.join(getattr(k, '__name__', str(k)) for k in kinds)}"


def parameters(network: type[Any]) -> dict[str, Any]:
    """The constructor's parameters and, where it passes them on, its bases'.

    Args:
        network: the class.

    Returns:
        The function that takes each, by the parameter's name.
    """
    takers: dict[str, Any] = {}
    for base in network.__mro__:
        if "__init__" not in vars(base):
            continue
        init = vars(base)["__init__"]
        found = list(inspect.signature(init).parameters.values())[1:]
        for p in found:
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY):
                takers.setdefault(p.name, init)
        if not any(p.kind is p.VAR_KEYWORD for p in found):
            break
    return takers


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value out of JSON is of the annotated kind; unknown annotations take anything."""
    origin, choices = get_origin(hint), get_args(hint)
    if origin is Literal:
        return isinstance(value, str) and value in choices
    if origin in (Union, UnionType):
        return any(_fits(value, choice) for choice in choices)
    if origin in (list, tuple):
        return isinstance(value, list | tuple)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint) if hint in (bool, str, NoneType) else True


def _check_weights(
    wanted: dict[str, "Tensor"], weights: dict[str, "Tensor"], architecture: str, source: str
) -> None:
    import torch

    missing, unknown = wanted.keys() - weights.keys(), weights.keys() - wanted.keys()
    if missing or unknown:
        which = f"without {min(missing)}" if missing else f"with {min(map(str, unknown))[:80]}"
        raise CheckpointError(f"{source} does not fit {architecture} ({which}).")
    for key, value in sorted(weights.items()):
        found, needed = tuple(getattr(value, "shape", ())), tuple(wanted[key].shape)
        if not isinstance(value, torch.Tensor) or found != needed:
            raise CheckpointError(
                f"{source} does not fit {architecture} ({key} is {found}, not {needed})."
            )
        if not wanted[key].is_floating_point() and value.dtype == wanted[key].dtype:
            continue  # such as a BatchNorm's count of batches
        if not value.is_floating_point() or not value.isfinite().all():
            raise CheckpointError(f"{source} has weights that are no finite numbers ({key}).")
