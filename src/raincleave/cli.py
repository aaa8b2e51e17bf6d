"""The command ``raincleave``: a table of subcommands, each imported only when it is called.

Every subcommand is one function in `raincleave.commands`; jsonargparse turns its typed signature
and docstring into options. The function returns the exit code, or None for 0.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from errno import ENOSPC
from importlib import import_module
from inspect import getdoc
from io import TextIOWrapper

from raincleave import __version__
from raincleave.errors import RaincleaveError

COMMANDS: dict[str, tuple[str, str]] = {
    "derain": ("raincleave.commands.derain:derain_files", "remove rain from pictures"),
    "app": ("raincleave.commands.app:app", "remove rain on a page in the browser"),
    "models": ("raincleave.commands.models:models", "list the named checkpoints"),
    "evaluate": ("raincleave.commands.evaluate:evaluate", "score checkpoints on a dataset"),
    "convert": ("raincleave.commands.convert:convert", "turn authors' weights into a file of ours"),
    "doctor": ("raincleave.commands.doctor:doctor", "say what is installed and what works here"),
    "check-data": ("raincleave.commands.check_data:check_data", "say what a dataset folder holds"),
    "export": ("raincleave.commands.export:export", "write a model for ONNX, OpenVINO ..."),
    "bench": ("raincleave.commands.bench:bench", "time a model's ways of deraining here"),
    "synthesize": ("raincleave.commands.synthesize:synthesize", "make a rainy dataset"),
}
# Lightning's own subcommands parse their arguments themselves.
LIGHTNING = {
    "fit": "train or fine-tune a model",
    "validate": "score a model on validation pairs",
    "test": "score a model on test pairs",
    "predict": "derain a dataset, over several devices if asked",
}


def usage() -> str:
    """The text of ``raincleave --help``."""
    rows = {name: text for name, (_, text) in COMMANDS.items()} | LIGHTNING
    width = max(map(len, rows))
    lines = [f"  {name:<{width}}  {text}" for name, text in rows.items()]
    return "\n".join(
        [
            "usage: raincleave COMMAND ...",
            "",
            "Removes rain from single images.",
            "",
            "commands:",
            *lines,
            "",
            "options:",
            "  -h, --help     this text; after a command, its options",
            "  --version      the installed version",
        ]
    )


def run(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code; a user's mistake is printed, not raised."""
    name = argv[0] if argv else "--help"
    if name in ("-h", "--help", "help"):
        print(usage())
    elif name == "--version":
        print(f"raincleave {__version__}")
    elif name in COMMANDS or name in LIGHTNING:
        return _run_command(name, argv[1:])
    else:
        near = get_close_matches(name, [*COMMANDS, *LIGHTNING], n=1)
        hint = f"; did you mean {near[0]}?" if near else "; `raincleave --help` lists them."
        print(f"raincleave: there is no command {name!r}{hint}", file=sys.stderr)
        return 2
    return 0


def _run_command(name: str, argv: Sequence[str]) -> int:
    try:
        if name in COMMANDS:
            return _run_function(name, argv)
        import_module("raincleave.commands.lightning").main([name, *argv])
    except RaincleaveError as error:
        print(f"raincleave: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        told = f"{error.filename} cannot be used: {error.strerror}." if error.filename else ""
        if error.errno == ENOSPC:
            what = error.filename or "what was written"
            told = f"{what} does not fit; the disk is full."
        if not told:
            raise
        print(f"raincleave: {told}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("raincleave: interrupted", file=sys.stderr)
        return 130
    return 0


def _run_function(name: str, argv: Sequence[str]) -> int:
    from jsonargparse import ArgumentError, ArgumentParser

    target, _ = COMMANDS[name]
    module_name, _, attribute = target.partition(":")
    module = import_module(module_name)
    function = getattr(module, attribute)
    about = re.split(r"\n\n(?=Args:|Returns:|Raises:)", getdoc(function) or "")[0]
    about = " ".join(about.replace("``", "").split())
    parser = ArgumentParser(prog=f"raincleave {name}", description=about, exit_on_error=False)
    # A module may add what a signature cannot say: several positional arguments, short options.
    if hasattr(module, "add_arguments"):
        module.add_arguments(parser)
    else:
        parser.add_function_arguments(function, as_positional=True)
    try:
        options = parser.parse_args(list(argv)).as_dict()
    except ArgumentError as error:
        print(_objection(name, str(error), parser._option_string_actions), file=sys.stderr)
        return 2
    return function(**options) or 0


def _objection(command: str, error: str, options: Iterable[str]) -> str:
    """What is wrong with a command line, in one sentence, and the option that may be meant."""
    text = " ".join(error.split()).rstrip(".")
    hint = f"`raincleave {command} --help` lists the options."
    if found := re.search(r"[Uu]nrecognized arguments: (-[^ =]*)", text):
        near = get_close_matches(found[1], options, n=1)
        hint = f"did you mean {near[0]}?" if near else hint
    wrong = re.match(r'Parser key "([\w.]+)": (.*)[ .]+Given value:(.*)', text)
    wrong = wrong or re.match(r'Parser key "([\w.]+)": (.*?)[ .]+Got value:(.*)', text)
    if wrong:
        text = f"--{wrong[1]} cannot be {wrong[3].strip() or 'empty'}"
        if choices := re.fullmatch(r"Expected a typing\.Literal\[(.*)\]", wrong[2]):
            hint = f"choose from {choices[1].replace(chr(39), '')}."
    return f"raincleave: {text}; {hint}"


def main() -> None:
    """Entry point of the console script."""
    for stream in (sys.stdout, sys.stderr):
        # Names of files that a terminal has no letters for must not end a run half way.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))
