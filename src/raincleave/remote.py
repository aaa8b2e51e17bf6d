"""Weights from the Hugging Face Hub: fetched by its own client, believed if the hash fits."""

import hashlib
import os
import re
from errno import ENOSPC
from pathlib import Path
from typing import NamedTuple

from raincleave.errors import CheckpointError
from raincleave.weightfiles import read_bytes

SCHEME = "hf://"
_REF = re.compile(
    r"hf://(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*?)(?:@(?P<revision>[\w-][\w.-]*(?:/[\w-][\w.-]*)*))?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Access(NamedTuple):
    """How the Hub is asked; what is None is taken from the environment, as its users know."""

    revision: str | None = None
    """Branch, tag or commit; None for the main branch."""
    cache_dir: str | os.PathLike[str] | None = None
    """None for ``HF_HUB_CACHE``, below ``HF_HOME``."""
    token: str | bool | None = None
    """None for ``HF_TOKEN`` or the stored login."""
    local_files_only: bool = False
    """True to ask the cache alone, as ``HF_HUB_OFFLINE=1`` does."""
    force_download: bool = False


class Fetched(NamedTuple):
    """A file of a repository."""

    data: bytes
    commit: str


def parse_ref(ref: str) -> tuple[str, str | None]:
    """``hf://owner/repo[@revision]`` → repository, revision.

    Raises:
        CheckpointError: it is not of that form.
    """
    match = _REF.fullmatch(ref)
    if not match or ".." in ref:
        raise CheckpointError(f"{ref!r} is not of the form hf://owner/repo[@revision].")
    return match["repo"], match["revision"]


def is_commit(revision: str | None) -> bool:
    """Whether this is a full commit, which alone can never come to mean something else."""
    return bool(revision and _COMMIT.fullmatch(revision))


def fetch(repo: str, filename: str, access: Access, sha256: str | None = None) -> Fetched:
    """A file from the cache or, where it is not there, from the Hub; resumed where it was cut.

    Its bytes are checked on every load: against ``sha256`` where that is known, and against the
    hash under which the Hub's client keeps the file.

    Raises:
        CheckpointError: the Hub cannot or will not give it, or the hash does not fit; in that case
            nothing of the file stays in the cache.
    """
    from huggingface_hub import hf_hub_download

    try:
        pointer = Path(
            hf_hub_download(
                repo,
                filename,
                revision=access.revision,
                cache_dir=None if access.cache_dir is None else Path(access.cache_dir),
                token=access.token,
                local_files_only=access.local_files_only,
                force_download=access.force_download,
            )
        )
    except Exception as error:  # the client's transport, and with it its errors, changes by version
        raise _refused(repo, filename, access, error) from error
    data = read_bytes(pointer)
    _verify(data, pointer, f"{SCHEME}{repo}/{filename}", sha256)
    return Fetched(data, pointer.parent.name)


def _verify(data: bytes, pointer: Path, source: str, sha256: str | None) -> None:
    blob = pointer.readlink() if pointer.is_symlink() else pointer
    checks = [] if sha256 is None else [(sha256, hashlib.sha256(data).hexdigest())]
    if re.fullmatch(r"[0-9a-f]{64}", blob.name):
        checks.append((blob.name, hashlib.sha256(data).hexdigest()))
    elif _COMMIT.fullmatch(blob.name):  # small text files are kept under git's own hash
        git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False)
        checks.append((blob.name, git.hexdigest()))
    for expected, found in checks:
        if expected == found:
            continue
        try:
            pointer.resolve().unlink(missing_ok=True)
            pointer.unlink(missing_ok=True)
        except OSError as error:
            raise CheckpointError(
                f"{source} has the hash {found}, not {expected}, and cannot be removed from the "
                f"cache ({error.strerror}): delete {pointer}."
            ) from error
        raise CheckpointError(
            f"{source} has the hash {found}, not {expected}; it was removed from the cache, "
            "load it again."
        )


def _refused(repo: str, filename: str, access: Access, error: BaseException) -> CheckpointError:
    """What the Hub's refusal, or the client's failure, means, in one sentence."""
    from huggingface_hub import constants, errors

    name = f"{SCHEME}{repo}" + (f"@{access.revision}" if access.revision else "")
    if isinstance(error, errors.LocalEntryNotFoundError | ValueError) and error.__cause__:
        error = error.__cause__  # what the client met when it looked for more than the cache has
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.OfflineModeIsEnabled) or access.local_files_only:
        why = "is not in the cache, and the Hub may not be asked (offline)"
    elif isinstance(error, errors.GatedRepoError) or status == 403:
        why = f"needs its owner's permission, which {constants.ENDPOINT}/{repo} asks for"
    elif isinstance(error, errors.EntryNotFoundError):
        why = f"has no {filename}"
    elif isinstance(error, errors.RevisionNotFoundError):
        why = "is a revision that the repository does not have"
    elif isinstance(error, errors.RepositoryNotFoundError) or status == 401:
        why = "is not on the Hub, or is private and the token (HF_TOKEN) does not open it"
    elif status == 429:
        why = "cannot be had now: the Hub has had too many requests; try again in a while"
    elif status is not None:
        why = f"cannot be had now: the Hub answers with status {status}; try again in a while"
    elif isinstance(error, OSError) and (error.filename or error.errno == ENOSPC):
        where = f"{error.filename}: " if error.filename else ""
        why = (
            f"cannot be kept in the cache: {where}{error.strerror}; set HF_HOME or cache_dir to a "
            "folder that can be written"
        )
    else:
        reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        why = f"cannot be had from {constants.ENDPOINT} ({reason})"
    return CheckpointError(f"{name} {why}.")
