"""The pages of the site that are written elsewhere, and links that work there and on the site.

README, CHANGELOG and CONTRIBUTING become pages; the command line's help and the checkpoints are
taken from the package itself, so that they cannot go out of date. In prose, the name of something
that the reference describes leads there.
"""

import io
import os
import posixpath
import re
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from importlib import resources
from itertools import takewhile
from pathlib import Path
from typing import Any
from unittest.mock import patch

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

from raincleave.cards import checkpoint_table
from raincleave.cli import COMMANDS, LIGHTNING, run
from raincleave.hub import checkpoints

ROOT = Path(__file__).parents[2]
GUIDES = "examples/guides"
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "examples/README.md": "examples.md",
    "examples/photos/LICENCES.md": "licences.md",
}
CODE = {".py": "python", ".sh": "sh"}
# What is turned into a page stands for that page in links.
MADE = {"checkpoints.json": "checkpoints.md", "src/raincleave/cli.py": "command-line.md"}
_CHECKPOINTS = """\
# Checkpoints

`load("NAME")` and `raincleave derain PICTURE --model NAME` take them; no tag behind the name means
for everyday use. PSNR / SSIM by the csdwren protocol, all test images, strict
float32.

{table}
"""
_LINK = re.compile(r"""(?:(?<=\]\()|(?<=src=")|(?<=href="))(?![a-z]+:|#)([^)#"\s]+)""")
_FOLDER = re.compile(r"\[([^\]]+)\]\((?![a-z]+:)[^)\s]+/\)")
_FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and the files of the repository that any page leads to."""
    texts = {name: (ROOT / name).read_text("utf-8") for name in PAGES}
    written = {PAGES[name]: text for name, text in texts.items()}
    written |= dict(zip(MADE.values(), (checkpoint_page(), command_line()), strict=True))
    for uri, content in written.items():
        files.append(File.generated(config, uri, content=content))
    texts |= {f"{GUIDES}/{f.src_uri}": f.content_string for f in files.documentation_pages()}
    targets = {target for source, text in texts.items() for target in _targets(source, text)}
    for target in sorted(target for target in targets if (ROOT / target).is_file()):
        if Path(target).suffix in CODE and target not in MADE:
            files.append(File.generated(config, _uri(target), content=_code(target)))
        elif _uri(target) == target:
            files.append(File(target, str(ROOT), config.site_dir, use_directory_urls=False))
    return files


def _code(path: str) -> str:
    """A page that shows a script."""
    text = (ROOT / path).read_text("utf-8").rstrip()
    return f"# {path}\n\n~~~~{CODE[Path(path).suffix]}\n{text}\n~~~~\n"


def _targets(source: str, text: str) -> Iterator[str]:
    """The files, as paths in the repository, that a Markdown file at ``source`` links to."""
    for link in _LINK.findall(_FENCED.sub("", text)):
        yield posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def _uri(path: str) -> str:
    """Where mkdocs has a file of the repository."""
    if path in MADE:
        return MADE[path]
    if Path(path).suffix in CODE:
        return f"{path}.md"
    return PAGES.get(path, path.removeprefix(f"{GUIDES}/"))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links of the repository into links of the site."""
    here = page.file.src_uri
    if Path(here).with_suffix("").suffix in CODE:
        return markdown
    source = next((name for name, uri in PAGES.items() if uri == here), f"{GUIDES}/{here}")

    def moved(match: re.Match[str]) -> str:
        (target,) = _targets(source, f"]({match[1]})")
        return posixpath.relpath(_uri(target), posixpath.dirname(here) or ".")

    return _LINK.sub(moved, _FOLDER.sub(r"\1", markdown))  # a site has no page for a folder


@event_priority(-100)
def on_env(env: object, config: MkDocsConfig, files: Files) -> None:
    """Let names in prose lead to the reference, where they mean one thing only."""
    pages = [file.page for file in files.documentation_pages() if file.page]
    places = {
        name: f"{page.url}#{name}"
        for page in pages
        for name in re.findall(r'id="(raincleave\.[\w.]+)"', page.content or "")
    }
    for page in pages:
        page.content = re.sub(
            r"(<(?:a|h\d|pre)\b.*?</(?:a|h\d|pre)>)|<code>([\w.]+)</code>",
            lambda match, page=page: _linked(match, page, places),
            page.content or "",
            flags=re.DOTALL,
        )


def _linked(match: re.Match[str], page: Page, places: dict[str, str]) -> str:
    name = match[2]
    found = [
        place
        for full, place in places.items()
        if name and f".{full}".endswith(f".{name}") and not _is_word(name, full)
    ]
    near = [place for place in found if place.startswith(f"{page.url}#")]
    found = found if len(found) == 1 else near
    if len(found) != 1:
        return match[0]
    return f'<a href="{get_relative_url(found[0], page.url)}">{match[0]}</a>'


def _is_word(name: str, full: str) -> bool:
    """Whether a name is likelier to mean something else: a plain word that a class has too."""
    return name.isalpha() and name.islower() and full.split(".")[-2][:1].isupper()


def command_line() -> str:
    """What ``raincleave --help`` and the help of each command say, and the recipes."""
    parts = ["# Command line", "", *_console("raincleave --help")]
    for name in COMMANDS:
        parts += ["", f"## {name}", "", *_console(f"raincleave {name} --help")]
    parts += [
        "",
        f"## {', '.join(LIGHTNING)}",
        "",
        "Lightning's own command line, with our networks and DataModules by their short names: "
        "`raincleave fit --help` lists its options, `raincleave fit --model.help DRN` those of a "
        "network, `--data.help SyntheticRain` those of a DataModule. `--config recipe:NAME` brings "
        "a packaged training:",
        "",
    ]
    return "\n".join([*parts, *_recipes()]) + "\n"


def _console(command: str) -> list[str]:
    """A block with a command and what it prints."""
    printed = io.StringIO()
    narrow = patch.dict(os.environ, {"COLUMNS": "84"})
    with redirect_stdout(printed), suppress(SystemExit), narrow:
        run(command.split()[1:])
    return ["```console", f"$ {command}", printed.getvalue().rstrip(), "```"]


def _recipes() -> list[str]:
    """A table of the packaged recipes: each begins with a comment that says what it is."""
    rows = ["| recipe | |", "|---|---|"]
    for file in sorted((resources.files("raincleave") / "recipes").iterdir(), key=lambda f: f.name):
        lines = file.read_text("utf-8").splitlines()
        comment = " ".join(line[2:] for line in takewhile(lambda line: line[:1] == "#", lines))
        rows.append(f"| `{file.name.removesuffix('.yaml')}` | {comment} |")
    return rows


def checkpoint_page() -> str:
    """The named checkpoints: figures, stage by stage, and how each was trained."""
    parts = [_CHECKPOINTS.format(table=checkpoint_table(checkpoints()))]
    for name, entry in sorted(checkpoints().items()):
        arguments = ", ".join(f"{key}={value!r}" for key, value in entry["arguments"].items())
        parts += [f"## {name}", "", *_stages(entry["figures"]), ""]
        parts += [f"`{entry['architecture']}({arguments})`, {entry['source']}.", ""]
        facts = {"licence of the weights": entry["licence"], "sha256": f"`{entry['sha256']}`"}
        facts |= {key: value for key, value in entry["training"].items() if key != "licence"}
        facts |= {"licence of the images": entry["training"]["licence"]}
        parts += [f"- **{key}**: {value}" for key, value in facts.items()]
    return "\n".join(parts)


def _stages(figures: list[dict[str, Any]]) -> list[str]:
    """A table with a row for each stage and a column for each dataset."""
    with_stages = [figure for figure in figures if "stages" in figure]
    columns = [f"{figure['dataset']}, {figure['protocol']}" for figure in with_stages]
    rows = [["stage", *columns], ["---"] * (1 + len(columns))]
    for scores in zip(*(figure["stages"] for figure in with_stages), strict=True):
        cells = [f"{score['psnr']:.2f} / {score['ssim']:.4f}" for score in scores]
        rows.append([str(scores[0]["stage"]), *cells])
    return [f"| {' | '.join(row)} |" for row in rows] if columns else []
