"""What is written about the code: docstrings, their examples, links, and the guides' blocks."""

import ast
import doctest
import re
import shutil
from importlib import import_module
from pathlib import Path

import pytest

from snippets import blocks, commands, run_command, run_python

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src" / "raincleave").rglob("*.py"))
GUIDES = sorted((ROOT / "examples" / "guides").glob("*.md"))
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT / "src").with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def public(node: ast.AST, name: str):
    """Every public definition below a module or class, with its dotted name."""
    yield node, name
    for child in ast.iter_child_nodes(node):
        if isinstance(child, DEFINITIONS) and not child.name.startswith("_"):
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{name}.{child.name}")
            elif "overload" not in [getattr(one, "id", "") for one in child.decorator_list]:
                yield child, f"{name}.{child.name}"


def test_every_public_name_has_a_docstring():
    bare = [
        name
        for path in SOURCES
        for node, name in public(ast.parse(path.read_text("utf-8")), module_name(path))
        if not ast.get_docstring(node)
    ]
    assert bare == []


def test_the_arguments_described_are_the_arguments():
    wrong = []
    for path in SOURCES:
        for node, name in public(ast.parse(path.read_text("utf-8")), module_name(path)):
            section = re.search(
                r"^Args:\n(.*?)(?=^\S|\Z)", ast.get_docstring(node) or "", re.S | re.M
            )
            given = arguments(node)
            if section and given is not None:
                described = set(re.findall(r"^    \*{0,2}(\w+): ", section[1], re.M))
                wrong += [f"{name}: {argument}" for argument in sorted(described ^ given)]
    assert wrong == []


def arguments(node: ast.AST) -> set[str] | None:
    """Of a function, or of a class's own constructor; None where there is none."""
    if isinstance(node, ast.ClassDef):
        made = [child for child in node.body if getattr(child, "name", "") == "__init__"]
        return arguments(made[0]) if made else None
    if isinstance(node, ast.Module):
        return None
    given = node.args
    rest = [argument for argument in (given.vararg, given.kwarg) if argument]
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, *rest]
    return {argument.arg for argument in every} - {"self", "cls"}


@pytest.mark.parametrize(
    "name", [module_name(path) for path in SOURCES if ">>> " in path.read_text("utf-8")]
)
def test_examples_in_docstrings_give_what_they_say(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    result = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
    assert result.attempted > 0


def anchors(path: Path) -> set[str]:
    """What GitHub and mkdocs make of a page's headings."""
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.S | re.M)
    headings = re.findall(r"^#+ +(.+?) *$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text("utf-8"), flags=re.S | re.M)
    links = re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", text)
    broken = []
    for link in (first or second for first, second in links):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file) if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_a_guide_does_what_it_says(guide, little_world, tmp_path, monkeypatch):
    shutil.copytree(little_world, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": guide.stem}
    for block in blocks(guide):
        if block.language == "python":
            run_python(block, names)
        elif block.language == "py":
            compile(block.text, block.where, "exec")
        elif block.language == "console":
            for command in commands(block):
                run_command(command)


def test_a_wrong_block_is_noticed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "text\n\n```python\n1 / 0\n```\n\n```console\n$ raincleave derain none.png\n```\n"
    )
    python, console = blocks(page)
    with pytest.raises(ZeroDivisionError):
        run_python(python, {})
    with pytest.raises(AssertionError, match=r"none\.png"):
        run_command(*commands(console))
