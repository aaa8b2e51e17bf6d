"""``raincleave models``: the named checkpoints, what they cost and what they are worth."""

from importlib import resources
from json import dumps
from typing import TYPE_CHECKING, Any

from raincleave.remote import SCHEME

if TYPE_CHECKING:
    from rich.markdown import Markdown
    from rich.table import Table


_FOR = {"": "everyday", "heavy": "heavy", "light": "light", "real": "photos"}
"""The rain that a tag stands for, in a word: a row must fit into a terminal's line."""


def add_arguments(parser: Any) -> None:
    """Adds the options by hand: a signature knows no flag and no name that may be left out."""
    parser.add_argument("name", nargs="?", help="show this one's card: training, figures, licences")
    parser.add_argument("--json", action="store_true", help="everything known, as JSON")
    parser.add_argument("--markdown", action="store_true", help="the table of the README")


def models(name: str | None = None, json: bool = False, markdown: bool = False) -> None:
    """List the named checkpoints, or show one's card.

    Args:
        name: of the checkpoint to show.
        json: print everything known, as JSON.
        markdown: print names and figures as a Markdown table.

    Raises:
        CheckpointError: there is no checkpoint of that name.
    """
    from raincleave import hub

    entries = {name: hub.entry_of(name)} if name else dict(sorted(hub.checkpoints().items()))
    if markdown:
        from raincleave.cards import checkpoint_table

        print(checkpoint_table(entries))
        return
    rows = {name: {**entry, "where": _where(entry)} for name, entry in entries.items()}
    if json:
        print(dumps(rows, indent=2))
        return
    if not rows:
        print("no named checkpoints are installed")
        return
    from rich.console import Console

    console = Console()
    if name:
        console.print(_card(name, entries[name]))
        return
    console.print(_table(rows))
    console.print(_caption(rows), highlight=False)


def _where(entry: dict[str, Any]) -> str:
    """Where `raincleave.load` will find the weights."""
    if entry.get("file") and (resources.files("raincleave") / "weights" / entry["file"]).is_file():
        return "packaged"
    return f"{SCHEME}{entry['hub']['repo']}" if entry.get("hub") else "missing"


def _card(name: str, entry: dict[str, Any]) -> "Markdown":
    from rich.markdown import Markdown

    from raincleave.cards import model_card

    named = {**entry, "name": name}
    return Markdown(model_card(entry, entry["parameters"], named, ref=name).text)


def _table(rows: dict[str, dict[str, Any]]) -> "Table":
    from rich.table import Table

    from raincleave.cards import checkpoint_rows

    heads, rainy, *lines = checkpoint_rows(rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in [heads[0], "for", *heads[1:]]:
        side: Any = "right" if head in ("parameters", "size") else "left"
        table.add_column(head, justify=side, no_wrap=head != "for")
    if any(rainy[1:]):
        table.add_row(rainy[0], "", *rainy[1:], style="italic")
    for line in lines:
        table.add_row(line[0], _FOR.get(line[0].partition(".")[2], ""), *line[1:])
    return table


def _caption(rows: dict[str, dict[str, Any]]) -> str:
    """What the figures are, what is not in the package, and the licences."""
    places = {name: row["where"] for name, row in rows.items() if row["where"] != "packaged"}
    licences = {row.get("licence", "unknown") for row in rows.values()}
    return "\n".join(
        [
            "",
            "PSNR / SSIM on the test sets, protocol csdwren.",
            *(f"{name}: {where}." for name, where in places.items()),
            f"Licence of the weights: {', '.join(sorted(licences))}. `raincleave models NAME` "
            "tells what one was trained on, and those pictures' licences.",
        ]
    )
