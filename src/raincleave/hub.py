"""Where weights come from: named checkpoints, the Hub, files of ours, the authors' releases.

``checkpoints.json`` holds, by name, one entry for each named checkpoint::

    {"drn-7x7": {
        "architecture": "DRN",                      class in raincleave.models
        "arguments": {"stages": 7, ...},            its constructor's, JSON scalars or lists
        "file": "drn-7x7.safetensors",              in src/raincleave/weights; null: on the Hub
        "sha256": "...", "size": 47000,             of that file; bytes
        "parameters": 10595,
        "hub": {"repo": "owner/name", "revision": "<full commit>"},     optional
        "source": "trained by raincleave",
        "licence": "Apache-2.0",                    of the weights
        "training": {"data": "...", "licence": "...", "recipe": "drn-7x7", "command": "...",
                     "steps": 30000, "hours": 2.5, "machine": "...", "seed": 0, "commit": "..."},
        "figures": [{"dataset": "Rain100H", "protocol": "csdwren", "images": 100,
                     "input_psnr": 13.55, "input_ssim": 0.379, "psnr": 26.9, "ssim": 0.86,
                     "stages": [{"stage": 1, "psnr": 20.1, "ssim": 0.7}, ...]}],  optional
        "note": "..."                               what else a user should know, optional
    }}

``examples/package_checkpoint.py`` writes an entry from a trained file and a card.
"""

import hashlib
import json
import os
from difflib import get_close_matches
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from raincleave.building import build
from raincleave.contents import (
    WEIGHTS,
    Contents,
    from_safetensors,
    read_authors,
    read_folder,
    read_lightning,
    read_repository,
)
from raincleave.errors import CheckpointError, ConfigError
from raincleave.remote import SCHEME, Access, fetch, is_commit, parse_ref
from raincleave.weightfiles import read_bytes

if TYPE_CHECKING:
    import PIL.Image
    import torch

    from raincleave.inference.images import Image, Kind
    from raincleave.models import Derainer

DEFAULT = "drn-7x7"
__all__ = [
    "DEFAULT",
    "build",
    "checkpoints",
    "derain",
    "list_models",
    "load",
    "load_with",
]


@cache
def checkpoints() -> dict[str, dict[str, Any]]:
    """The named checkpoints, from ``checkpoints.json``: name → entry."""
    packaged = resources.files("raincleave") / "checkpoints.json"
    if packaged.is_file():
        return json.loads(packaged.read_text("utf-8"))
    # An editable install reads the checkout's.
    return json.loads(Path(__file__).parents[2].joinpath("checkpoints.json").read_text("utf-8"))


def list_models() -> list[str]:
    """The names that `load` knows, sorted.

    Examples:
        >>> "drn-7x7" in list_models()
        True
    """
    return sorted(checkpoints())


def load(
    ref: str | os.PathLike[str],
    *,
    stages: int | None = None,
    device: "torch.device | str | None" = None,
    dtype: "torch.dtype | None" = None,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    **arguments: Any,
) -> "Derainer":
    """Load a pretrained model in eval mode; nothing in any file is ever executed.

    Args:
        ref: a name from `list_models`; ``hf://owner/repo[@revision]``; a folder written by
            ``save_pretrained``; a ``.safetensors`` file written by `Derainer.save`; a Lightning
            ``.ckpt`` of one of our models; or an authors' released ``.pth``.
        stages: number of stages to build the network with. A recurrent network's weights do not
            fix it; None is what the checkpoint was trained with, for ``.pth`` the published number,
            which a BRN's has not.
        device: where the model is put; None is the CPU.
        dtype: floating-point type of the weights; None is float32.
        revision: of ``hf://`` repositories: branch, tag or commit.
        cache_dir: where the Hub's files are kept; None is ``HF_HOME``'s.
        token: for private repositories; None is ``HF_TOKEN`` or the stored login.
        local_files_only: never ask the network.
        **arguments: constructor's arguments that a ``.pth`` does not tell, such as
            ``recursions=5`` of a DRN, or ``mapping``. They may add to what a file says, never
            contradict it.

    Raises:
        CheckpointError: there is no such name or file, it cannot be had or trusted, or its contents
            are not what they should be.
        ConfigError: the device or dtype cannot be used.

    Examples:
        >>> model = load("drn-7x7")
        >>> model.hparams["stages"], model.training
        (7, False)
        >>> load("drn-7x7", stages=3).receptive_radius()
        90
    """
    name = os.fspath(ref)
    if stages is not None:
        arguments["stages"] = stages
    model = load_with(name, Access(revision, cache_dir, token, local_files_only), arguments)
    return _place(model, device, dtype)


def load_with(name: str, access: Access, arguments: dict[str, Any]) -> "Derainer":
    """`load`, with how the Hub is asked in one piece."""
    contents = _read(name, access, arguments)
    architecture, weights = contents.architecture, contents.weights
    model = build(architecture, contents.arguments, weights, source=contents.source)
    if name in checkpoints():
        entry = checkpoints()[name]
        same = contents.arguments == entry.get("arguments", contents.arguments)
        # Run otherwise than it was scored, it would score otherwise.
        kept = entry if same else {k: v for k, v in entry.items() if k != "figures"}
        model.card = {"name": name, **kept}
    return model


def _read(name: str, access: Access, given: dict[str, Any]) -> Contents:
    path = Path(name)
    # os.path, not Path, says no to names that the system cannot even look up.
    if path.suffix in (".pth", ".pt") and os.path.isfile(name):  # noqa: PTH113
        return read_authors(path, given)
    if name.startswith(SCHEME):
        repo, revision = parse_ref(name)
        if revision and access.revision not in (None, revision):
            raise CheckpointError(f"{name} and revision={access.revision!r} disagree.")
        contents = read_repository(repo, access._replace(revision=revision or access.revision))
    elif access.revision is not None:
        raise CheckpointError(
            f"revision={access.revision!r} is for hf:// repositories, not {name}."
        )
    elif name in checkpoints():
        contents = _read_named(name, access)
    elif os.path.isdir(name):  # noqa: PTH112
        contents = read_folder(path)
    elif not os.path.exists(name):  # noqa: PTH110
        raise _unknown(name)
    elif path.suffix == ".safetensors":
        contents = from_safetensors(read_bytes(path), name)
    elif path.suffix == ".ckpt":
        contents = read_lightning(path)
    else:
        raise CheckpointError(
            f"{name} is not a file of weights; give a .safetensors, .ckpt or authors' .pth file, "
            "a folder, hf://owner/repo or a model's name."
        )
    return contents._replace(arguments=contents.agree(given))


def entry_of(name: str) -> dict[str, Any]:
    """What is known of a named checkpoint.

    Raises:
        CheckpointError: there is none of that name.
    """
    if name in checkpoints():
        return checkpoints()[name]
    if Path(name).exists() or name.startswith(SCHEME):
        raise CheckpointError(
            f"{name} is none of the named checkpoints; `raincleave models` lists those."
        )
    raise _unknown(name)


def _unknown(name: str) -> CheckpointError:
    if Path(name).suffix in (".safetensors", ".pth", ".pt", ".ckpt"):
        return CheckpointError(f"there is no file {name}.")
    near = get_close_matches(name, list_models(), n=3, cutoff=0.3)
    hint = f"the nearest are {', '.join(near)}" if near else "`raincleave models` lists them"
    return CheckpointError(f"there is no model {name!r}; {hint}.")


def _read_named(name: str, access: Access) -> Contents:
    """The packaged file if there is one, else the one the entry pins on the Hub."""
    entry = checkpoints()[name]
    file, hub = entry.get("file"), entry.get("hub")
    if file is not None and Path(file).name != file:
        raise CheckpointError(f"checkpoints.json names a file outside the package: {file!r}.")
    packaged = resources.files("raincleave") / "weights" / file if file else None
    if packaged is not None and packaged.is_file():
        data = packaged.read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != entry["sha256"]:
            raise CheckpointError(
                f"the packaged weights of {name!r} have the hash {found}, not {entry['sha256']}; "
                "reinstall raincleave."
            )
    elif hub is None:
        raise CheckpointError(f"the weights of {name!r} are missing; reinstall raincleave.")
    elif not is_commit(hub["revision"]):
        raise CheckpointError(f"checkpoints.json pins {name!r} to no full commit.")
    else:
        pinned = access._replace(revision=hub["revision"])
        data = fetch(hub["repo"], WEIGHTS, pinned, entry["sha256"]).data
    return from_safetensors(data, name)


def _place(
    model: "Derainer", device: "torch.device | str | None", dtype: "torch.dtype | None"
) -> "Derainer":
    if device is None and dtype is None:
        return model
    try:
        return model.to(device=device, dtype=dtype)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(
            f"device={device}, dtype={dtype} cannot be used here ({reason})."
        ) from error


@overload
def derain(
    image: str | os.PathLike[str], model: str = DEFAULT, *, stages: int | None = None
) -> "PIL.Image.Image": ...


@overload
def derain(image: "Kind", model: str = DEFAULT, *, stages: int | None = None) -> "Kind": ...


def derain(image: "Image", model: str = DEFAULT, *, stages: int | None = None) -> "Image":
    """Remove the rain from one image: ``load(model).derain(image)``.

    Args:
        image: anything that `Derainer.derain` takes.
        model: a name from `list_models`, or a weight file.
        stages: stop after this many stages.

    Returns:
        The derained image, of the kind, size, depth and range of the input.

    Raises:
        ImageError: the image cannot be read, or is none.
        CheckpointError: there is no such model.

    Examples:
        A grey picture with a bright streak in column 5, which comes out darker:

        >>> import numpy as np
        >>> rainy = np.full((8, 12, 3), 128, np.uint8)
        >>> rainy[:, 5] = 228
        >>> clean = derain(rainy)
        >>> clean.shape, clean.dtype, bool((clean[:, 5] < rainy[:, 5]).all())
        ((8, 12, 3), dtype('uint8'), True)
    """
    return load(model).derain(image, stages=stages)
