"""How is a table read that somebody else has written?

Line by line, with bounds on lines and rows, so that no file takes more memory than its rows need;
what is wrong is said with file, line and column. It does not know what the columns mean.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

LINE_BYTES_MAX = 64 * 1024
ROWS_MAX = 2_000_000
TEXT_MAX = 512
"""Of a field: names and models of all rows are held in memory."""
SIZE_MAX = 1_000_000_000
"""Largest number a column may hold: sums of rows still fit into 64 bits."""
_WHOLE = re.compile(r"-?[0-9]{1,19}")
_SHOWN_MAX = 40
_BOM = b"\xef\xbb\xbf"


class BadTable(Exception):
    """A table that cannot be used: one sentence for the user, the column when there is one, and a
    code that stays the same: `unreadable_file`, `line_too_long`, `not_text` (no UTF-8, zero bytes,
    no CSV), `empty_table`, `bad_columns` or `bad_value`."""

    def __init__(self, code: str, sentence: str, column: str = "") -> None:
        super().__init__(sentence)
        self.code = code
        self.column = column


class Row:
    """One line of a table: fields by the name of their column."""

    def __init__(self, path: Path, line: int, fields: dict[str, str]) -> None:
        self.path = path
        self.line = line
        self.fields = fields

    def problem(self, column: str, sentence: str) -> BadTable:
        return _problem("bad_value", self.path, self.line, column, sentence)

    def text(self, column: str) -> str:
        value = self.fields.get(column, "").strip()
        if len(value) > TEXT_MAX:
            raise self.problem(column, f"is longer than {TEXT_MAX} characters")
        return value

    def name(self, column: str) -> str:
        """A text that must be there."""
        value = self.text(column)
        if not value:
            raise self.problem(column, "is empty")
        return value

    def size(self, column: str, least: int = 0, most: int = SIZE_MAX) -> int:
        """A whole number within bounds."""
        value = self.text(column)
        if not _WHOLE.fullmatch(value):
            raise self.problem(column, f"{shown(value)} is not a whole number")
        number = int(value)
        if number < least:
            least_said = "is negative" if number < 0 <= least else f"is below {least}"
            raise self.problem(column, f"{number} {least_said}")
        if number > most:
            raise self.problem(column, f"{number} is above {most}")
        return number

    def size_or_none(self, column: str) -> int | None:
        """A whole number, or None where nothing is said."""
        return self.size(column) if self.text(column) else None


def shown(value: str) -> str:
    """A value in quotes, cut to what fits a sentence."""
    cut = value if len(value) <= _SHOWN_MAX else value[:_SHOWN_MAX] + "…"
    return repr(cut)


def rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a CSV file that has at least these columns. Raises BadTable."""
    try:
        with path.open("rb") as file:
            yield from _rows(path, file, columns)
    except OSError as error:
        said = f"{path}: cannot be read: {error.strerror}"
        raise BadTable("unreadable_file", said) from error


def _rows(path: Path, file: BinaryIO, columns: Sequence[str]) -> Iterator[Row]:
    header: list[str] = []
    found = False
    for line, fields in _lines(path, file):
        if not header:
            header = [field.strip() for field in fields]
            _check_header(path, line, header, columns)
            continue
        if len(fields) != len(header):
            at = header[min(len(fields), len(header) - 1)]
            sentence = f"the line has {len(fields)} fields, the header {len(header)}"
            raise _problem("bad_columns", path, line, at, sentence)
        if line > ROWS_MAX:
            raise _problem("bad_value", path, line, header[0], f"more than {ROWS_MAX} lines")
        found = True
        yield Row(path, line, dict(zip(header, fields, strict=True)))
    if not header:
        raise _problem("empty_table", path, 1, columns[0], "the file is empty")
    if not found:
        raise _problem("empty_table", path, 2, columns[0], "there is no row below the header")


def _lines(path: Path, file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of each line that is not blank."""
    number = 0
    while data := file.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(data) > LINE_BYTES_MAX:
            sentence = f"the line is longer than {LINE_BYTES_MAX} bytes"
            raise _problem("line_too_long", path, number, LINE_BYTES_MAX + 1, sentence)
        if number == 1:
            data = data.removeprefix(_BOM)
        try:
            text = data.decode("utf-8").strip("\r\n")
        except UnicodeDecodeError as error:
            sentence = f"byte 0x{data[error.start]:02x} is not UTF-8"
            raise _problem("not_text", path, number, error.start + 1, sentence) from error
        if "\0" in text:
            raise _problem("not_text", path, number, text.index("\0") + 1, "holds a zero byte")
        if not text.strip():
            continue
        try:
            yield number, next(csv.reader([text], strict=True))
        except csv.Error as error:
            raise _problem("not_text", path, number, 1, f"is no CSV: {error}") from error


def _check_header(path: Path, line: int, header: list[str], columns: Sequence[str]) -> None:
    for column in columns:
        if column not in header:
            raise _problem("bad_columns", path, line, column, "the column is missing")
    seen: set[str] = set()
    for column in header:
        if column in seen:
            raise _problem("bad_columns", path, line, column, "is there twice")
        seen.add(column)


def _problem(code: str, path: Path, line: int, column: str | int, sentence: str) -> BadTable:
    """`column`: its name, or from which character on the line is at fault. A name that does not
    show is quoted."""
    name = str(column)
    if not name.isprintable() or not 0 < len(name) <= _SHOWN_MAX:
        name = shown(name)
    return BadTable(code, f"{path}, line {line}, column {name}: {sentence}", name)
