"""How do rows become a CSV or Parquet file?

Written beside the target and moved there when it is whole, so that nobody reads half a file. CSV
leaves what is not known empty and writes all digits of a number; Parquet has decimals. It does not
know what rows mean.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from penstock_client.focus.columns import SCALES, Column
from penstock_client.focus.rows import Row

PARQUET_DIGITS = 38
ROWS_PER_GROUP = 50_000
SUFFIXES = (".csv", ".parquet")


class ParquetMissing(Exception):
    """pyarrow is not installed."""


class Sink(Protocol):
    def write(self, rows: Iterable[Row]) -> None: ...

    def close(self) -> None: ...


class FocusFile:
    """Rows go in page by page; the file is there once the block ends without an exception. The
    path's suffix says which kind. Raises OSError and ParquetMissing."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        kind = _Parquet if path.suffix == ".parquet" else _Csv
        self._sink: Sink = kind(self._partial, columns)
        self.rows = 0

    def write(self, rows: Iterable[Row]) -> None:
        found = list(rows)
        self.rows += len(found)
        self._sink.write(found)

    def __enter__(self) -> FocusFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._sink.close()
            if kind is None:
                self._partial.replace(self._path)
        finally:
            with suppress(FileNotFoundError):
                self._partial.unlink()


class _Csv:
    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self._columns = [(column.name, _FORMATS[column.kind]) for column in columns]
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow([column.name for column in columns])

    def write(self, rows: Iterable[Row]) -> None:
        self._writer.writerows(map(self._texts, rows))

    def _texts(self, row: Row) -> list[str | None]:
        """An empty field where there is nothing."""
        return [
            None if (value := row.get(name)) is None else text(value)
            for name, text in self._columns
        ]

    def close(self) -> None:
        self._file.close()


@lru_cache(maxsize=128)
def _instant(value: datetime) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")


_FORMATS: dict[str, Callable[[Any], str]] = {
    "text": str,
    "instant": _instant,
    **{kind: f"{{:.{scale}f}}".format for kind, scale in SCALES.items()},
}
"""Of a number all digits, also of a nothing: `0.000000`, never `0E-6`."""


class _Parquet:
    """Rows gather until a group is full: small groups make large files."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ModuleNotFoundError as error:
            raise ParquetMissing(
                "Parquet needs pyarrow: pip install 'penstock[parquet]', or write .csv"
            ) from error
        self._arrow = pyarrow
        self._columns = columns
        self._schema = pyarrow.schema(
            [(column.name, _parquet_type(pyarrow, column)) for column in columns]
        )
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema)
        self._gathered: list[Row] = []

    def write(self, rows: Iterable[Row]) -> None:
        self._gathered.extend(rows)
        if len(self._gathered) >= ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        names = [column.name for column in self._columns]
        table = {name: [row.get(name) for row in self._gathered] for name in names}
        self._writer.write_table(self._arrow.table(table, schema=self._schema))
        self._gathered.clear()

    def close(self) -> None:
        if self._gathered:
            self._flush()
        self._writer.close()


def _parquet_type(arrow: Any, column: Column) -> Any:
    if column.kind == "text":
        return arrow.string()
    if column.kind == "instant":
        return arrow.timestamp("s", tz="UTC")
    return arrow.decimal128(PARQUET_DIGITS, SCALES[column.kind])
