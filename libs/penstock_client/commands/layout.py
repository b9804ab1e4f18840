"""How are styled words laid out on lines of so many columns?

Pieces of text with the name of a style, and tables of them, without escape sequences. It does not
know what is said, nor terminals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from penstock_client.commands.tables import printable

PLAIN, BOLD, DIM, GOOD, WARM, BAD = "", "bold", "dim", "good", "warm", "bad"
HEAD = "head"
GAP = 2
"""Between two columns."""
LEFT_MIN = 8
"""For the column that takes what the others leave."""


class Piece(NamedTuple):
    text: str
    style: str = PLAIN


Line = tuple[Piece, ...]
Row = TypeVar("Row")


class Column(NamedTuple):
    """`width` 0: what is left. `right`: numbers."""

    heading: str
    width: int
    right: bool = False


def table_of(
    table: Sequence[Column],
    rows: Sequence[Row],
    row: Callable[[Row], tuple[Piece, ...]],
    columns: int,
    empty: str,
) -> list[Line]:
    """A heading and a line per row; the column of width 0 takes what the others leave."""
    fixed = sum(column.width for column in table) + GAP * (len(table) - 1)
    left = max(LEFT_MIN, columns - fixed)
    widths = [column.width or left for column in table]
    heading = [Piece(column.heading, HEAD) for column in table]
    if not rows:
        return [(Piece(shortened(empty, columns), DIM),)]
    lines = []
    for pieces in (heading, *map(row, rows)):
        cells = []
        for column, width, piece in zip(table, widths, pieces, strict=True):
            text = shortened(printable(piece.text), width)
            text = f"{text:>{width}}" if column.right else f"{text:{width}}"
            gap = " " * GAP if column is not table[-1] else ""
            cells.append(Piece(text + gap, piece.style))
        lines.append(fitted(cells, columns))
    return lines


def fitted(pieces: Iterable[Piece], columns: int) -> Line:
    """As much as a line holds."""
    kept, room = [], columns
    for piece in pieces:
        text = printable(piece.text)[:room]
        room -= len(text)
        if text:
            kept.append(Piece(text, piece.style))
    return tuple(kept)


def padded(text: str, width: int) -> str:
    return f"{shortened(printable(text), width):{width}}" + " " * GAP


def shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(width - 1, 0)]}…"


def width_of(texts: Iterable[str], least: int, most: int) -> int:
    return max(least, min(most, max(map(len, texts), default=0)))
