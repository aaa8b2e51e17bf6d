"""How a network is kept: files of ours, Lightning checkpoints, folders and the Hub."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import ModelCard, PyTorchModelHubMixin
from lightning.pytorch import LightningModule
from torch import Tensor

from raincleave.building import parameters
from raincleave.errors import CheckpointError
from raincleave.remote import SCHEME, Access
from raincleave.weightfiles import to_safetensors, write_bytes

_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
D = TypeVar("D", bound="Pretrained")


class Pretrained(LightningModule, PyTorchModelHubMixin):
    """The half of `Derainer` that saves and finds weights, always with the network's arguments."""

    card: dict[str, Any] | None = None
    """The entry of ``checkpoints.json`` the weights came from, with its name; None if unknown."""

    def configuration(self) -> dict[str, Any]:
        """``{"architecture": …, "arguments": …}``: what a file of weights must say to be loaded.

        Raises:
            CheckpointError: an argument is no JSON scalar or list, or the class is named like one
                of raincleave's, which the name in a file would stand for.
        """
        from raincleave import models  # upwards, hence here

        name = type(self).__name__
        if getattr(models, name, type(self)) is not type(self):
            raise CheckpointError(
                f"{type(self).__module__}.{name} cannot be saved, since raincleave has a {name} of "
                "its own; give the class another name."
            )
        arguments = self._arguments()
        try:
            json.dumps(arguments)
        except TypeError as error:
            raise CheckpointError(
                f"the arguments of this {type(self).__name__} cannot be saved ({error}); "
                "keep them to numbers, strings and lists."
            ) from error
        return {"architecture": name, "arguments": arguments}

    def _arguments(self) -> dict[str, Any]:
        """Those of the constructor; `hparams` may hold notes of Lightning's and a base's, too."""
        known = parameters(type(self))
        return {k: v for k, v in dict(self.hparams).items() if k in known}

    def save(
        self, path: str | os.PathLike[str], weights: Mapping[str, Tensor] | None = None
    ) -> None:
        """Write the weights to a ``.safetensors`` file that `raincleave.load` reads.

        The header carries the architecture and the constructor's arguments: a recurrent network's
        weights alone do not tell how often it runs. The file is written whole or not at all.

        Args:
            path: the file.
            weights: in place of the network's own, such as an average of them.

        Raises:
            CheckpointError: the file cannot be written, or an argument cannot be saved.
        """
        configuration = self.configuration()
        header = {
            "format": "pt",
            "architecture": configuration["architecture"],
            "arguments": json.dumps(configuration["arguments"], sort_keys=True),
        }
        kept = self.state_dict() if weights is None else weights
        # Copies: the format knows no two weights in one place, as a module used twice has them.
        plain = {key: value.detach().cpu().contiguous().clone() for key, value in kept.items()}
        write_bytes(Path(path), to_safetensors(plain, header))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note the architecture in Lightning's ``.ckpt``, and no arguments but its own."""
        checkpoint["architecture"] = type(self).__name__
        arguments = self._arguments()
        noted = checkpoint.get("hyper_parameters", {})
        for key in [k for k in noted if k not in arguments and not k.startswith("_")]:
            del noted[key]

    @classmethod
    def from_pretrained(
        cls: type[D],
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        map_location: str = "cpu",
        **arguments: Any,
    ) -> D:
        """A model from a folder or a Hub repository ``owner/name``, of the class it was saved as.

        Args:
            pretrained_model_name_or_path: ``owner/name``, a folder, or whatever `raincleave.load`
                takes.
            force_download: fetch the files again even where they are in the cache.
            token: for private repositories; None is ``HF_TOKEN`` or the stored login.
            cache_dir: where the Hub's files are kept.
            local_files_only: never ask the network.
            revision: branch, tag or commit.
            map_location: the device to put the model on.
            **arguments: ``stages``, and constructor's arguments that the files do not tell.

        Raises:
            CheckpointError: as `raincleave.load`, or the model is not of this class.
        """
        from raincleave.hub import load_with  # upwards, and so not before it is needed

        ref = os.fspath(pretrained_model_name_or_path)
        if _REPOSITORY.fullmatch(ref) and not Path(ref).exists():
            ref = f"{SCHEME}{ref}"
        access = Access(revision, cache_dir, token, local_files_only, force_download)
        model = load_with(ref, access, arguments)
        if not isinstance(model, cls):
            raise CheckpointError(f"{ref} is a {type(model).__name__}, not a {cls.__name__}.")
        return model.to(map_location)

    def _save_pretrained(self, save_directory: Path) -> None:
        text = json.dumps(self.configuration(), sort_keys=True, indent=2)
        self.save(save_directory / "model.safetensors")
        write_bytes(save_directory / "config.json", f"{text}\n".encode())

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        """As the mixin's, with the repository's name in the card's example."""
        about = {"repo_id": repo_id, **(kwargs.pop("model_card_kwargs", None) or {})}
        return super().push_to_hub(repo_id, model_card_kwargs=about, **kwargs)

    def generate_model_card(
        self, repo_id: str | None = None, *, ref: str = ".", **kwargs: Any
    ) -> ModelCard:
        """The card that ``save_pretrained`` and ``push_to_hub`` write as ``README.md``.

        Args:
            repo_id: ``owner/name``, for the example; None for files that stay here.
            ref: what the example gives to `raincleave.load` where there is no ``repo_id``.
            **kwargs: none; there for the mixin's sake.
        """
        from raincleave.cards import model_card

        count = sum(p.numel() for p in self.parameters())
        ref = f"{SCHEME}{repo_id}" if repo_id else ref
        module = type(self).__module__
        return model_card(self.configuration(), count, self.card, ref, module=module)
