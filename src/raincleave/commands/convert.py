"""``raincleave convert``: the authors' released weights into a file of ours."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from raincleave.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from raincleave.upstream import Release


def add_arguments(parser: Any) -> None:
    """Adds the flag by hand: a signature knows none."""
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")
    parser.add_function_arguments(convert, as_positional=True, skip={"overwrite"})


def convert(
    authors: str,
    out: str,
    *,
    stages: int | None = None,
    recursions: int | None = None,
    mapping: str | None = None,
    overwrite: bool = False,
) -> None:
    """Turn an authors' ``.pth`` file into a ``.safetensors`` file, and say what was found in it.

    Args:
        authors: file released with DRN, SRN, CRN, BRN or one of their variants.
        out: file to write, ending in .safetensors.
        stages: T, how many stages it was trained with, which no file tells.
        recursions: R of a DRN, which no file tells either.
        mapping: residual or direct, for an SRN; measured if not given.
        overwrite: replace OUT if it is there.

    Raises:
        CheckpointError: the file cannot be read, or something that it does not tell is not given.
        ConfigError: OUT cannot be written to.
    """
    from raincleave.building import build
    from raincleave.upstream import complete, read_release

    path = Path(out)
    if path.suffix != ".safetensors":
        raise ConfigError(f"{out} does not end in .safetensors.")
    if path.exists() and not overwrite:
        raise ConfigError(f"{out} is there already; --overwrite replaces it.")
    release = read_release(Path(authors))
    given = {"stages": stages, "recursions": recursions, "mapping": mapping}
    given = {key: value for key, value in given.items() if value is not None}
    _ask(release, given, authors)
    arguments = complete(release, given, authors)
    model = build(release.architecture, arguments, release.weights, source=authors)
    model.save(path)
    print(_report(release, given, authors, out, sum(p.numel() for p in model.parameters())))


def _ask(release: "Release", given: dict[str, Any], authors: str) -> None:
    from raincleave.upstream import HINTS

    missing = [key for key in release.untold if key not in given]
    if not missing:
        return
    options = " ".join(f"--{key} {release.untold[key] or 'N'}" for key in missing)
    published = "" if None in release.untold.values() else " (as the paper has it)"
    raise CheckpointError(
        f"{authors} is recognised as {release.architecture}, but no file tells its "
        f"{' and '.join(missing)}; say them: {options}{published}"
        f"{HINTS.get(release.architecture, '')}."
    )


def _report(
    release: "Release", given: dict[str, Any], authors: str, out: str, parameters: int
) -> str:
    told = {key: value for key, value in release.arguments.items() if key not in given}
    measured = told.pop("mapping", None)
    lines = [
        f"{authors} is recognised as {release.architecture}.",
        f"  told by the file  {_listed(told)}",
        f"  told by you       {_listed(given)}",
        f"  kept              {len(release.weights)} tensors, {parameters:,} parameters",
    ]
    if measured:
        lines.append(f"  measured          mapping={measured}, by what it makes of a grey picture")
    if release.dropped:
        blocks = sorted({name.partition(".")[0] for name in release.dropped})
        lines.append(
            f"  dropped           {len(release.dropped)} tensors of {', '.join(blocks)}, "
            "which no stage of the authors' network uses"
        )
    return "\n".join([*lines, f"wrote {out}"])


def _listed(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in arguments.items())
