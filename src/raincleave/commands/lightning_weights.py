"""The weights that a training starts from or goes on with must fit its network."""

import json
from inspect import signature

import torch

from raincleave.errors import CheckpointError
from raincleave.hub import load
from raincleave.models import Derainer


def start_from(model: Derainer, ref: str, exactly: bool = False) -> None:
    """Fill ``model`` with the weights that ``ref`` names.

    Args:
        model: changed in place.
        ref: what `raincleave.load` takes.
        exactly: refuse those of another network, also where they would fit in shape.

    Raises:
        CheckpointError: there are none, or they are of another network.
    """
    start = load(ref)
    if exactly:
        _check_same(model, start, ref)
    try:
        model.load_state_dict(start.state_dict())
    except RuntimeError as error:
        raise _misfit(model, start, ref) from error


def check_fit(model: Derainer, checkpoint: str, averages: bool = True) -> None:
    """Refuse a ``.ckpt`` of another network, also where its weights would fit in shape.

    Args:
        model: what its weights are for.
        checkpoint: the file.
        averages: whether an average of the weights, if it holds one, is of use.

    Raises:
        CheckpointError: it is one, or cannot be read, or its average would be lost.
    """
    _check_same(model, load(checkpoint), checkpoint)
    if not averages and "averaging_state" in torch.load(checkpoint, "cpu", weights_only=True):
        raise CheckpointError(
            f"{checkpoint} is of a training that averages its weights; to go on with it, give its "
            "--config again, or --trainer.callbacks+=WarmupEMA."
        )


def _check_same(model: Derainer, other: Derainer, source: str) -> None:
    how_trained = signature(Derainer).parameters
    ours, theirs = (
        # As files keep them, to which a tuple is a list.
        {k: json.dumps(v) for k, v in network.hparams.items() if k not in how_trained}
        for network in (model, other)
    )
    if type(other) is not type(model) or ours != theirs:
        raise _misfit(model, other, source)


def _misfit(model: Derainer, other: Derainer, source: str) -> CheckpointError:
    ours, theirs = (
        f"{type(network).__name__}({', '.join(f'{k}={v!r}' for k, v in network.hparams.items())})"
        for network in (model, other)
    )
    return CheckpointError(f"{source} holds a {theirs}, which does not fit the {ours} asked for.")
