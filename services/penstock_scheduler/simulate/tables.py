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
SIZE_MAX = 1_000_000_000
"""Largest number a column may hold: sums of rows still fit into 64 bits."""
_WHOLE = re.compile(r"-?[0-9]{1,19}")
_SHOWN_MAX = 40
_BOM = b"\xef\xbb\xbf"


class BadTable(Exception):
    """A table that cannot be used: one sentence for the user."""


class Row:
    """One line of a table: fields by the name of their column."""

    def __init__(self, path: Path, line: int, fields: dict[str, str]) -> None:
        self.path = path
        self.line = line
        self.fields = fields

    def problem(self, column: str, sentence: str) -> BadTable:
        return BadTable(f"{self.path}, line {self.line}, column {column}: {sentence}")

    def text(self, column: str) -> str:
        return self.fields.get(column, "").strip()

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
        raise BadTable(f"{path}: cannot be read: {error.strerror}") from error


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
            raise BadTable(
                f"{path}, line {line}, column {at}: the line has {len(fields)} fields, "
                f"the header {len(header)}"
            )
        if line > ROWS_MAX:
            raise BadTable(f"{path}, line {line}, column {header[0]}: more than {ROWS_MAX} lines")
        found = True
        yield Row(path, line, dict(zip(header, fields, strict=True)))
    if not header:
        raise BadTable(f"{path}, line 1, column {columns[0]}: the file is empty")
    if not found:
        raise BadTable(f"{path}, line 2, column {columns[0]}: there is no row below the header")


def _lines(path: Path, file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of each line that is not blank."""
    number = 0
    while data := file.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(data) > LINE_BYTES_MAX:
            raise BadTable(
                f"{path}, line {number}, column {LINE_BYTES_MAX + 1}: the line is longer than "
                f"{LINE_BYTES_MAX} bytes"
            )
        if number == 1:
            data = data.removeprefix(_BOM)
        try:
            text = data.decode("utf-8").strip("\r\n")
        except UnicodeDecodeError as error:
            raise BadTable(
                f"{path}, line {number}, column {error.start + 1}: byte "
                f"0x{data[error.start]:02x} is not UTF-8"
            ) from error
        if "\0" in text:
            raise BadTable(
                f"{path}, line {number}, column {text.index(chr(0)) + 1}: holds a zero byte"
            )
        if not text.strip():
            continue
        try:
            yield number, next(csv.reader([text], strict=True))
        except csv.Error as error:
            raise BadTable(f"{path}, line {number}, column 1: is no CSV: {error}") from error


def _check_header(path: Path, line: int, header: list[str], columns: Sequence[str]) -> None:
    for column in columns:
        if column not in header:
            raise BadTable(f"{path}, line {line}, column {column}: the column is missing")
    for at, column in enumerate(header):
        if column in header[:at]:
            raise BadTable(f"{path}, line {line}, column {shown(column)}: is there twice")
