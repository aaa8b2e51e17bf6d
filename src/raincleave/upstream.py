"""The authors' released weights (DRN, SRN, CRN, BRN and their variants) into our names."""

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from raincleave.errors import CheckpointError
from raincleave.weightfiles import parse_pickle, read_bytes

if TYPE_CHECKING:
    from torch import Tensor

    Weights = dict[str, Tensor]

# Our fused gates, in the order of `ConvLSTM` and `ConvGRU`, by the authors' names.
_GATES: dict[str, dict[str, tuple[str, ...]]] = {
    "lstm": {"gates": ("conv_i", "conv_f", "conv_o", "conv_g")},
    "gru": {"gates": ("conv_z", "conv_b"), "candidate": ("conv_g",)},
}
_F_R_BLOCKS = 3
_PLAIN_INPUTS = 64
"""Input channels of gates that see z and their own h alone."""


HINTS = {"BRN": ", which is 8 of the journal paper's files and 4 of the conference paper's"}
"""What the authors' code runs files with whose number of stages is no published one."""


class Release(NamedTuple):
    """What an authors' file was recognised as."""

    architecture: str
    """Class in `raincleave.models`."""
    arguments: dict[str, Any]
    """Constructor's arguments that the weights tell."""
    untold: dict[str, Any]
    """Those they do not tell, with the published value, None where there is none."""
    weights: "Weights"
    """By our names, float32."""
    dropped: list[str]
    """The authors' names of weights that no stage uses."""


def read_release(path: Path) -> Release:
    """Recognise an authors' ``.pth`` file by its keys and shapes.

    Prefixes of DataParallel and tags of CUDA devices do not matter. Whether an SRN's mapping is
    residual or direct shows in no key; it is measured, see `_is_direct`.

    Raises:
        CheckpointError: the file cannot be trusted, or is of none of the released networks.
    """
    theirs = _tensors(parse_pickle(read_bytes(path), str(path)), str(path))
    try:
        if "conv0_r.0.weight" in theirs:
            release = _brn(theirs)
        elif "conv_g.0.weight" in theirs:
            release = _srn(theirs)
        else:
            release = _drn(theirs)
    except KeyError as error:
        raise CheckpointError(
            f"{path} is of none of the networks that raincleave knows (it lacks {error})."
        ) from error
    except (RuntimeError, IndexError) as error:  # of weights that do not go together
        raise CheckpointError(
            f"{path} is of none of the networks that raincleave knows (its weights' shapes differ)."
        ) from error
    if theirs:
        raise CheckpointError(
            f"{path} is of none of the networks that raincleave knows "
            f"(they have no {', '.join(sorted(theirs)[:3])})."
        )
    return release


def complete(release: Release, given: dict[str, Any], source: str) -> dict[str, Any]:
    """The constructor's arguments: what the weights tell, what the user says, what is published.

    Raises:
        CheckpointError: the user contradicts the weights, or must say what they do not tell.
    """
    wrong = {k: v for k, v in given.items() if release.arguments.get(k, v) != v}
    if wrong and set(wrong) != {"mapping"}:  # the mapping is measured, not read: the user knows
        key, value = next((k, v) for k, v in wrong.items() if k != "mapping")
        raise CheckpointError(f"{source} has {key}={release.arguments[key]!r}, not {value!r}.")
    arguments = {**release.untold, **release.arguments, **given}
    open_questions = [key for key, value in arguments.items() if value is None]
    if open_questions:
        raise CheckpointError(
            f"{source} does not tell {' and '.join(open_questions)}; say what it was trained with"
            f"{HINTS.get(release.architecture, '')}."
        )
    return arguments


def _tensors(content: dict[str, Any], source: str) -> "Weights":
    import torch

    for key, value in content.items():
        weight = isinstance(key, str) and isinstance(value, torch.Tensor)
        if not weight or not value.is_floating_point():
            raise CheckpointError(f"{source} holds {str(key)[:80]!r}, which is not a weight.")
    return {key.removeprefix("module."): value.float() for key, value in content.items()}


def _published(architecture: str, *names: str) -> dict[str, Any]:
    from raincleave import models

    signature = inspect.signature(getattr(models, architecture))
    return {name: signature.parameters[name].default for name in names}


def _move(theirs: "Weights", names: tuple[str, ...], ours: str) -> "Weights":
    """Take one or several of the authors' convolutions out and make one of ours from them."""
    import torch

    parts = ("weight", "bias")
    return {f"{ours}.{p}": torch.cat([theirs.pop(f"{name}.{p}") for name in names]) for p in parts}


def _move_blocks(theirs: "Weights", suffix: str, ours: str) -> tuple["Weights", int]:
    """All ResBlocks of a branch, and their number."""
    weights: Weights = {}
    count = 0
    while f"res_conv{count + 1}{suffix}.0.weight" in theirs:
        name = f"res_conv{count + 1}{suffix}"
        weights |= _move(theirs, (f"{name}.0",), f"{ours}.{count}.conv1")
        weights |= _move(theirs, (f"{name}.2",), f"{ours}.{count}.conv2")
        count += 1
    return weights, count


def _move_branch(theirs: "Weights", cell: str, suffix: str, ours: str) -> tuple["Weights", int]:
    """A recurrent branch: f_in, cell, ResBlocks, f_out."""
    weights, blocks = _move_blocks(theirs, suffix, f"{ours}f_res")
    weights |= _move(theirs, (f"conv0{suffix}.0",), f"{ours}f_in")
    weights |= _move(theirs, (f"conv{suffix}.0",), f"{ours}f_out")
    for name, gates in _GATES[cell].items():
        source = tuple(f"{gate}{suffix}.0" for gate in gates)
        weights |= _move(theirs, source, f"{ours}f_recurrent.{name}")
    return weights, blocks


def _drn(theirs: "Weights") -> Release:
    weights, blocks = _move_blocks(theirs, "", "f_rec")
    weights |= _move(theirs, ("conv0.0",), "f_in") | _move(theirs, ("conv.0",), "f_out")
    told = {"res_blocks": blocks, "channels": weights["f_in.weight"].shape[0]}
    untold = _published("DRN", "stages", "recursions")
    if told != _published("DRN", *told):
        untold = dict.fromkeys(untold)  # PRN and its like have these keys, but other T and R
    return Release("DRN", told, untold, weights, [])


def _srn(theirs: "Weights") -> Release:
    cell = "lstm" if "conv_i.0.weight" in theirs else "gru"
    weights, blocks = _move_branch(theirs, cell, "", "")
    if blocks == 1:
        raise KeyError("res_conv2.0.weight")  # PReNet_r runs one ResBlock five times
    sees_rainy = weights["f_in.weight"].shape[1] != 3
    told = {"cell": cell, "sees_rainy": sees_rainy, "res_blocks": blocks}
    told["mapping"] = "direct" if _is_direct(weights, told) else "residual"
    return Release("SRN", told, _published("SRN", "stages"), weights, [])


def _is_direct(weights: "Weights", arguments: dict[str, Any]) -> bool:
    """SRN and SRN-LSTM have the same keys; tell them apart by what f_out gives for a grey image.

    It is about grey under the direct mapping and about zero under the residual one: 0.504 and
    −0.033 for 0.5 with the released weights. SRN_x, which does not see y, was published direct.
    """
    import torch

    from raincleave.models import SRN

    if not arguments["sees_rainy"]:
        return True
    try:
        model = SRN(stages=1, mapping="direct", **arguments).eval()
        model.load_state_dict(weights)
    except RuntimeError:  # shapes that fit no SRN; `build` says so better
        return False
    with torch.inference_mode():
        return model(torch.full((1, 3, 16, 16), 0.5)).mean().item() > 0.25


def _brn(theirs: "Weights") -> Release:
    cell = "lstm" if "conv_i.0.weight" in theirs else "gru"
    # The released files hold two ResBlocks of F_r that the authors' own forward never calls.
    dropped = [k for k in theirs if k.startswith(("res_conv4_r.", "res_conv5_r."))]
    for key in dropped:
        del theirs[key]
    f_x, _ = _move_branch(theirs, cell, "", "f_x.")
    f_r, blocks = _move_branch(theirs, cell, "_r", "f_r.")
    if blocks != _F_R_BLOCKS:
        raise KeyError("res_conv3_r.0.weight")
    weights = f_x | f_r
    gates = (weights["f_r.f_recurrent.gates.weight"], weights["f_x.f_recurrent.gates.weight"])
    sees = (gates[0].shape[1] > _PLAIN_INPUTS, gates[1].shape[1] > _PLAIN_INPUTS)
    couplings = {(True, True): "both", (False, True): "r2x", (True, False): "x2r"}
    told = {"coupling": couplings.get(sees, "none"), "cell": cell}
    # The journal paper says 6, but none of the files that were released with it runs so.
    return Release("BRN", told, {"stages": None}, weights, dropped)
