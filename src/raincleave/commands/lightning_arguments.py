"""The words of a command line before the Lightning CLI reads them: recipes and starting points."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib import resources
from pathlib import Path

import yaml  # type: ignore[import-untyped]  # Lightning's own, for the same files

from raincleave.errors import CheckpointError, ConfigError
from raincleave.hub import DEFAULT

RUNS = "lightning_logs"
"""Folder of the runs, ``version_0`` and so on, in ``--trainer.default_root_dir``."""
OWN_PAIRS = "PairedFolders"
"""The DataModule meant where none is named."""
FINE_TUNING = "finetune"
"""The recipe used by ``raincleave fit`` where starting weights are given and no ``--config``."""


def prepared(argv: Sequence[str]) -> list[str]:
    """What the Lightning CLI is to read in place of ``argv``.

    ``recipe:NAME`` becomes the packaged file. ``--model.init_from REF`` becomes ``--init_from REF``
    with the network that REF names, unless ``--model`` names one; ``--ckpt_path FILE`` brings its
    network too, and where FILE holds weights alone, it is such a REF; a training is gone on with
    by the settings it began with, unless a configuration, a network or a REF is named. Where
    nothing of all that is given, the everyday checkpoint is meant.

    Args:
        argv: the subcommand and its options.

    Raises:
        ConfigError: there is no such recipe.
        CheckpointError: REF or FILE is no network of ours, or FILE is no training to go on with.
    """
    name, *words = _recipes(argv)
    if any(word == "-h" or word.partition("=")[0].endswith("help") for word in words):
        return [name, *words]
    words = [w.replace("--model.", "--") if _is(w, "--model.init_from") else w for w in words]
    words = _with_checkpoint(name, words)
    ref, ckpt = _value(words, "--init_from"), _value(words, "--ckpt_path")
    configured = any(_is(word, option) for word in words for option in ("--config", "-c"))
    configured = configured or f"PL_{name.upper()}__CONFIG" in os.environ
    model = any(_is(word, "--model") for word in words) or f"PL_{name.upper()}__MODEL" in os.environ
    if not (ref or ckpt or configured or model):
        ref, words = DEFAULT, ["--init_from", DEFAULT, *words]
    network: list[str] = []
    if name == "fit" and ckpt and not (ref or configured or model):
        # Not the whole command again: the settings that the training began with, if they are there.
        began_with = Path(ckpt).absolute().parent.parent / "config.yaml"
        if began_with.is_file():
            return [name, "--config", str(began_with), *words]
    if not model and (ref or (ckpt and not configured)):
        network = _network(str(ref or ckpt))
    if not configured and not any(_is(word, "--data") for word in words):
        network += ["--data", OWN_PAIRS]
    if name == "fit" and ref and not (configured or model):
        network = ["--config", str(_recipe(FINE_TUNING)), *network]
    return [name, *network, *words]


def _with_checkpoint(name: str, words: list[str]) -> list[str]:
    """``words`` with the file that ``--ckpt_path last`` or ``best`` means."""
    which = _value(words, "--ckpt_path")
    if which in ("last", "best"):
        path = newest_checkpoint(_root(name, words), which)
        return [*words, f"--ckpt_path={path}"]  # the last one given counts
    if which is None or Path(which).suffix != ".safetensors":
        return words
    if name == "fit":
        raise CheckpointError(
            f"{which} holds weights alone, no training to go on with; "
            f"start a new one from it with --model.init_from {which}."
        )
    return [*words, f"--init_from={which}", "--ckpt_path=null"]


def _root(name: str, words: list[str]) -> str | None:
    """What the Lightning CLI will take for ``--trainer.default_root_dir``."""
    root = os.environ.get(f"PL_{name.upper()}__TRAINER__DEFAULT_ROOT_DIR")
    for config in _values(words, "--config", "-c"):
        # What is wrong with a file, jsonargparse says later.
        with suppress(OSError, ValueError, AttributeError, yaml.YAMLError):
            trainer = yaml.safe_load(Path(config).read_text("utf-8")).get("trainer")
            root = trainer.get("default_root_dir") or root
    return _value(words, "--trainer.default_root_dir") or root


def _network(ref: str) -> list[str]:
    """Options that build the network that ``ref`` names."""
    from raincleave.hub import load

    architecture, arguments = load(ref).configuration().values()
    # Quoted, a string would be none of the choices it is one of.
    plain = {k: v if isinstance(v, str) else json.dumps(v) for k, v in arguments.items()}
    given = [f"--model.{key}={value}" for key, value in plain.items()]
    return [f"--model={architecture}", *given]


def newest_checkpoint(root: str | None, which: str) -> Path:
    """``last.ckpt`` or ``best.ckpt`` of the run that wrote one last.

    Args:
        root: what the runs' ``--trainer.default_root_dir`` was; None is the current folder.
        which: ``"last"`` or ``"best"``.

    Raises:
        CheckpointError: there is none.
    """
    runs = Path(root or ".") / RUNS
    found = runs.glob(f"version_*/checkpoints/{which}.ckpt")
    newest = max(found, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        raise CheckpointError(
            f"there is no run with a {which}.ckpt in {runs}; "
            "name the --trainer.default_root_dir that it was started with."
        )
    return newest


def recipes() -> list[str]:
    """Names of the packaged recipes, sorted."""
    folder = resources.files("raincleave") / "recipes"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith("yaml"))


def _recipe(name: str) -> Path:
    """The packaged recipe's file."""
    if name not in recipes():
        ours = name.lower().replace("prenet", "srn")  # the same network
        near = get_close_matches(ours, recipes(), n=3) or recipes()
        raise ConfigError(f"there is no recipe {name!r}; choose from {', '.join(near)}.")
    return Path(str(resources.files("raincleave") / "recipes" / f"{name}.yaml"))


def _recipes(words: Sequence[str]) -> Iterator[str]:
    for word in words:
        option, mark, name = word.partition("recipe:")
        known = mark and option in ("", "--config=", "-c=")
        yield f"{option}{_recipe(name)}" if known else word


def _is(word: str, option: str) -> bool:
    return word == option or word.startswith(f"{option}=")


def _value(words: Sequence[str], option: str) -> str | None:
    """The last value given to ``option``."""
    return next(reversed(_values(words, option)), None)


def _values(words: Sequence[str], *options: str) -> list[str]:
    """What is given to any of ``options``, in order."""
    after = [*words[1:], ""]
    pairs = [
        (word, after[i]) if "=" not in word else word.split("=", 1) for i, word in enumerate(words)
    ]
    return [value for option, value in pairs if option in options]


def told(error: Exception, command: str) -> str:
    """What jsonargparse objects to, in one sentence instead of its many lines.

    Args:
        error: what it raised.
        command: the subcommand.
    """
    text = " ".join(str(error).split())
    key = re.search(r'Parser key "([\w.]+)"', text)
    option = f"--{key[1]}" if key else ""
    problem = re.search(r"class_path '[\w.]*?(\w+)': (.*?)(?: - Expected a |$)", text)
    if problem and (needs := re.search(r"are required: ([\w, ]+)", problem[2])):
        return f"{problem[1]} needs {option}.{needs[1].replace(', ', f' and {option}.')}."
    if problem and (unknown := re.search(r"Option '(\w+)' is not accepted", problem[2])):
        return (
            f"{problem[1]} has no option {option}.{unknown[1]}; "
            f"`raincleave {command} {option}.help {problem[1]}` lists those it has."
        )
    if problem and (inner := re.match(r'Parser key "(\w+)": .*value: (.*)', problem[2])):
        return (
            f"{option}.{inner[1]} cannot be {inner[2]}; `raincleave {command} --help` tells more."
        )
    if needs := re.search(rf"are required: (?:{command}\.)?([\w.]+)", text):
        return f"--{needs[1]} is missing; `raincleave {command} --help` tells what it can be."
    if option and (value := re.search(r"Given value: (.{1,60})$", text)):
        return f"{option} cannot be {value[1]}; `raincleave {command} --help` tells what it can be."
    return f"{text[:300].rstrip('.')}."


def check_name(words: Sequence[str], option: str, known: Sequence[str]) -> None:
    """Refuse a short name that nothing has.

    Args:
        words: the command line.
        option: ``"--model"`` or ``"--data"``.
        known: the names there are. Dotted import paths and files are left to jsonargparse.

    Raises:
        ConfigError: with the nearest names.
    """
    name = _value(words, option)
    if name is None or "." in name or "/" in name or "{" in name or name in known:
        return
    near = get_close_matches(name, known, n=3, cutoff=0.4) or sorted(known)
    raise ConfigError(f"there is no {option[2:]} {name!r}; choose from {', '.join(near)}.")
