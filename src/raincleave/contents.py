"""What a file, folder or repository of weights says and holds, before any network is built."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from raincleave.errors import CheckpointError
from raincleave.remote import SCHEME, Access, fetch
from raincleave.weightfiles import parse_pickle, parse_safetensors, read_bytes

WEIGHTS, CONFIG = "model.safetensors", "config.json"
"""The files of a folder or repository that ``save_pretrained`` wrote."""


class Contents(NamedTuple):
    """What was read, before any network is built."""

    source: str
    """The file or repository, for messages."""
    architecture: str
    arguments: dict[str, Any]
    weights: dict[str, Any]

    def agree(self, given: dict[str, Any]) -> dict[str, Any]:
        """The file's arguments, the user's number of stages, and what else adds to them.

        Raises:
            CheckpointError: the user contradicts the file.
        """
        for key, value in given.items():
            theirs = self.arguments.get(key, value)
            if key == "stages" and key not in self.arguments:
                raise CheckpointError(f"a {self.architecture} has no number of stages to set.")
            if key != "stages" and theirs != value:
                raise CheckpointError(f"{self.source} has {key}={theirs!r}, not {value!r}.")
        return {**self.arguments, **given}


def from_safetensors(
    data: bytes, source: str, config: Callable[[], bytes | None] = lambda: None
) -> Contents:
    """What a safetensors file of ours holds; its header says of which network.

    Args:
        data: the file.
        source: its name, for messages.
        config: gives the ``config.json`` beside it, asked where the header says nothing.

    Raises:
        CheckpointError: the file is corrupt or not ours.
    """
    header, weights = parse_safetensors(data, source)
    if "architecture" in header:
        arguments = _json(header.get("arguments", ""), f"header of {source}")
        return Contents(source, header["architecture"], arguments, weights)
    beside = config()
    if beside is None:
        raise CheckpointError(
            f"{source} does not say which network it belongs to; it was not written by raincleave."
        )
    return Contents(source, *_parse_config(beside, source), weights)


def _parse_config(config: bytes, source: str) -> tuple[Any, dict[str, Any]]:
    fields = _json(config, f"{CONFIG} of {source}")
    if "architecture" not in fields or not isinstance(fields.get("arguments"), dict):
        raise CheckpointError(f"the {CONFIG} of {source} is not one of raincleave's.")
    return fields["architecture"], fields["arguments"]


def _json(text: str | bytes, where: str) -> dict[str, Any]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"the {where} is not readable.") from error
    if not isinstance(fields, dict):
        raise CheckpointError(f"the {where} is not one of raincleave's.")
    return fields


def read_repository(repo: str, access: Access) -> Contents:
    """What a repository on the Hub holds, its files all of one commit."""
    weights = fetch(repo, WEIGHTS, access)

    def config() -> bytes:
        return fetch(repo, CONFIG, access._replace(revision=weights.commit)).data

    return from_safetensors(weights.data, f"{SCHEME}{repo}", config)


def read_folder(folder: Path) -> Contents:
    """What ``save_pretrained`` wrote into a folder.

    Raises:
        CheckpointError: there is nothing, or a link that leads out of the folder.
    """
    weights, config = folder / WEIGHTS, folder / CONFIG
    home = folder.resolve()
    # The Hub's cache is made of links from snapshots/COMMIT to blobs.
    homes = [home, home.parents[1] / "blobs"] if home.parent.name == "snapshots" else [home]
    for path in (weights, config):
        if not any(path.resolve().is_relative_to(allowed) for allowed in homes):
            raise CheckpointError(f"{path} is a link out of its folder, which is not followed.")
    if not weights.exists():
        raise CheckpointError(f"the folder {folder} has no {WEIGHTS}; save_pretrained writes one.")
    beside = read_bytes(config) if config.exists() else None
    contents = from_safetensors(read_bytes(weights), str(folder), lambda: beside)
    told = (contents.architecture, contents.arguments)
    if beside is not None and _parse_config(beside, str(folder)) != told:
        raise CheckpointError(f"the {CONFIG} of {folder} contradicts the header of its {WEIGHTS}.")
    return contents


def read_lightning(path: Path) -> Contents:
    """What a Lightning checkpoint of one of our models holds.

    Raises:
        CheckpointError: it is another's, or holds more than weights and plain values.
    """
    content = parse_pickle(read_bytes(path), str(path))
    weights, arguments = content.get("state_dict"), content.get("hyper_parameters", {})
    if (
        not isinstance(weights, dict)
        or not isinstance(arguments, dict)
        or "architecture" not in content
    ):
        raise CheckpointError(f"{path} is not a checkpoint of one of raincleave's models.")
    # Lightning's command line notes there how it made the model.
    plain = {k: v for k, v in arguments.items() if not str(k).startswith("_")}
    return Contents(str(path), content["architecture"], plain, dict(weights))


def read_authors(path: Path, given: dict[str, Any]) -> Contents:
    """What an authors' ``.pth`` holds, with what it does not tell from the user or the paper."""
    from raincleave.upstream import complete, read_release

    release = read_release(path)
    arguments = complete(release, given, str(path))
    return Contents(str(path), release.architecture, arguments, release.weights)
