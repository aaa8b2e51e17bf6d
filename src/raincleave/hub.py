"""Where weights come from: named checkpoints, files of ours, the authors' releases."""

import hashlib
import json
import os
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raincleave.errors import CheckpointError

if TYPE_CHECKING:
    from raincleave.inference.images import Image
    from raincleave.models import Derainer

DEFAULT = "drn-7x7"


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

    >>> "drn-7x7" in list_models()
    True
    """
    return sorted(checkpoints())


def load(ref: str | os.PathLike[str], *, stages: int | None = None) -> "Derainer":
    """Load a pretrained model, in eval mode, on the CPU; nothing in the file is ever executed.

    Args:
        ref: a name from `list_models`; a ``.safetensors`` file written by `Derainer.save`; or an
            authors' released ``.pth``.
        stages: number of stages to build the network with. A recurrent network's weights do not
            fix it; None is what the checkpoint was trained with (the published number for ``.pth``).

    Raises:
        CheckpointError: there is no such name or file, or its contents are not what they should be.
    """
    name = os.fspath(ref)
    if name in checkpoints():
        return _load_named(name, stages)
    path = Path(name)
    if not path.exists():
        looks_like_file = path.suffix or len(path.parts) > 1
        if looks_like_file and path.suffix in (".safetensors", ".pth", ".pt", ".ckpt"):
            raise CheckpointError(f"there is no file {path}.")
        near = get_close_matches(name, list_models(), n=3, cutoff=0.3)
        hint = f"the nearest are {', '.join(near)}" if near else "`raincleave models` lists them"
        raise CheckpointError(f"there is no model {name!r}; {hint}.")
    if path.suffix == ".safetensors":
        return load_safetensors(path, stages)
    if path.suffix in (".pth", ".pt"):
        from raincleave.upstream import load_pth

        return load_pth(path, stages)
    raise CheckpointError(
        f"{path} is not a weight file; give a .safetensors file, an authors' .pth or a model's name."
    )


def _load_named(name: str, stages: int | None) -> "Derainer":
    entry = checkpoints()[name]
    with resources.as_file(resources.files("raincleave") / "weights" / entry["file"]) as path:
        if not path.is_file():
            raise CheckpointError(
                f"the packaged weights of {name!r} are missing; reinstall raincleave."
            )
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != entry["sha256"]:
            raise CheckpointError(
                f"the packaged weights of {name!r} have sha256 {found}, not {entry['sha256']}; "
                "reinstall raincleave."
            )
        return load_safetensors(path, stages)


def load_safetensors(path: Path, stages: int | None = None) -> "Derainer":
    """Build the network a file of ours describes and fill it with the file's weights.

    Args:
        path: written by `Derainer.save`.
        stages: in place of the number of stages in the file.

    Raises:
        CheckpointError: the file is corrupt, is not ours, or does not fit what it says it is.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file ({error}).") from error
    try:
        architecture = header["architecture"]
        arguments = json.loads(header["arguments"])
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} does not say which network it belongs to; it was not written by raincleave."
        ) from error
    return build(architecture, arguments, weights, stages=stages, source=str(path))


def build(
    architecture: str,
    arguments: dict[str, Any],
    weights: dict[str, Any],
    *,
    stages: int | None = None,
    source: str = "the weights",
) -> "Derainer":
    """A network of the given architecture and constructor arguments, with these weights, in eval.

    Raises:
        CheckpointError: the architecture, an argument or a weight does not fit.
    """
    from raincleave.models import Derainer

    classes = {cls.__name__: cls for cls in _subclasses(Derainer)}
    if architecture not in classes:
        raise CheckpointError(
            f"{source} is for an unknown network {architecture!r}; import its class first."
        )
    if stages is not None:
        if "stages" not in arguments:
            raise CheckpointError(f"a {architecture} has no number of stages to set.")
        if stages < 1:
            raise CheckpointError(f"stages must be 1 or more, not {stages}.")
        arguments = {**arguments, "stages": stages}
    try:
        model = classes[architecture](**arguments)
    except Exception as error:
        raise CheckpointError(
            f"{source} has arguments that {architecture} does not take ({error})."
        ) from error
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{source} does not fit {architecture} ({reason[:300]}).") from error
    return model.eval()


def _subclasses(base: type["Derainer"]) -> Iterator[type["Derainer"]]:
    for cls in base.__subclasses__():
        yield cls
        yield from _subclasses(cls)


def derain(image: "Image", model: str = DEFAULT, *, stages: int | None = None) -> "Image":
    """Remove the rain from one image: ``load(model).derain(image)``.

    Args:
        image: anything that `Derainer.derain` takes.
        model: a name from `list_models`, or a weight file.
        stages: stop after this many stages.
    """
    return load(model).derain(image, stages=stages)
