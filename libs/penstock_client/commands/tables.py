"""How are rows shown to a person or to a program?

On a terminal a rich table with colours, otherwise plain aligned text without any escape sequence;
with --json the contract's own JSON. It does not know what the rows mean.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

STYLES = {
    "succeeded": "green",
    "running": "cyan",
    "alive": "green",
    "failed": "red",
    "timed_out": "red",
    "rejected": "red",
    "lost": "red",
    "cancelled": "yellow",
    "suspect": "yellow",
    "queued": "yellow",
    "stopping": "yellow",
}
"""Words that carry a colour wherever they stand alone in a cell."""


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
    """One line a row; `empty` is said on stderr when there is none."""
    rows = [[printable(cell) for cell in row] for row in rows]
    if not rows:
        click.echo(empty, err=True)
    elif sys.stdout.isatty():
        _print_rich(headings, rows)
    else:
        click.echo(align([headings, *rows]))


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """A name and a value a line; empty values are left out."""
    shown = [(name, value) for name, value in fields if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{click.style(f'{name:{width}}', dim=True)}  {styled(printable(value))}")


def print_json(value: Any) -> None:
    """The value as one JSON document, readable."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def align(rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "\n".join(lines)


def printable(text: str) -> str:
    """Without control characters: a job's name must not drive the reader's terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def styled(word: str) -> str:
    """The word in its colour; click leaves colours out where there is no terminal."""
    style = STYLES.get(word)
    return click.style(word, fg=style) if style else word


def _print_rich(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    Console().print(table)
