"""``raincleave models``: the named checkpoints, what they cost and what they are worth."""

from importlib import resources
from json import dumps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def add_arguments(parser: Any) -> None:
    """Adds the flags by hand: a signature knows none."""
    parser.add_argument("--json", action="store_true", help="everything known, as JSON")
    parser.add_argument("--markdown", action="store_true", help="the table of the README")


def models(json: bool = False, markdown: bool = False) -> None:
    """List the named checkpoints.

    Args:
        json: print everything known, as JSON.
        markdown: print names and figures as a Markdown table.
    """
    from raincleave.hub import checkpoints

    if markdown:
        from raincleave.cards import checkpoint_table

        print(checkpoint_table(checkpoints()))
        return

    entries = sorted(checkpoints().items())
    rows = {name: {**entry, "where": _where(entry)} for name, entry in entries}
    if json:
        print(dumps(rows, indent=2))
        return
    if not rows:
        print("no named checkpoints are installed")
        return
    from rich.console import Console

    Console().print(_table(rows))


def _where(entry: dict[str, Any]) -> str:
    """Where `raincleave.load` will find the weights."""
    if entry.get("file") and (resources.files("raincleave") / "weights" / entry["file"]).is_file():
        return "packaged"
    return f"hf://{entry['hub']['repo']}" if entry.get("hub") else "missing"


def _table(rows: dict[str, dict[str, Any]]) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, side in (
        ("name", "left"),
        ("parameters", "right"),
        ("size", "right"),
        ("figures: PSNR / SSIM (input's)", "left"),
        ("licence", "left"),
        ("where", "left"),
    ):
        table.add_column(title, justify=side, no_wrap=title == "name")  # type: ignore[arg-type]
    for name, entry in rows.items():
        figures = "\n".join(map(_figure, entry.get("figures", []))) or "not measured"
        table.add_row(
            name,
            f"{entry['parameters']:,}",
            f"{entry['size'] / 1000:,.0f} kB",
            figures,
            entry.get("licence", "unknown"),
            entry["where"],
        )
    return table


def _figure(figure: dict[str, Any]) -> str:
    return (
        f"{figure['dataset']} {figure['psnr']:.2f} / {figure['ssim']:.3f} "
        f"({figure['input_psnr']:.2f} / {figure['input_ssim']:.3f}), {figure['protocol']}"
    )
