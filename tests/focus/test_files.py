"""Is a file whole or not there, and the same in both formats?"""

from __future__ import annotations

import csv
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from focus.builders import a_page
from penstock_client.focus import files
from penstock_client.focus.columns import columns_of
from penstock_client.focus.files import FocusFile, ParquetMissing
from penstock_client.focus.rows import rows_of

COLUMNS = columns_of("1.4", provider=True)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as source:
        return list(csv.DictReader(source))


def shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else str(value)


def test_parquet_and_csv_hold_the_same(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    page = a_page(provider=True)
    for name in ("month.csv", "month.parquet"):
        with FocusFile(tmp_path / name, COLUMNS) as file:
            file.write(rows_of(page))
            file.write(rows_of(page))
    table = parquet.read_table(tmp_path / "month.parquet")
    assert table.schema.names == [column.name for column in COLUMNS]
    rows = [
        {
            name: f"{value:f}" if isinstance(value, Decimal) else shown(value)
            for name, value in row.items()
        }
        for row in table.to_pylist()
    ]
    assert rows == read_csv(tmp_path / "month.csv")
    assert len(rows) == 2 * len(page.charges)


def test_a_file_without_rows_still_has_its_columns(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for name in ("month.csv", "month.parquet"):
        with FocusFile(tmp_path / name, COLUMNS):
            pass
    assert (tmp_path / "month.csv").read_text().startswith("AllocatedMethodDetails,")
    assert parquet.read_table(tmp_path / "month.parquet").num_rows == 0


@pytest.mark.parametrize("suffix", files.SUFFIXES)
def test_what_fails_half_way_leaves_the_file_as_it_was(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"month{suffix}"
    target.write_bytes(b"before")
    with pytest.raises(RuntimeError), FocusFile(target, COLUMNS) as file:
        file.write(rows_of(a_page()))
        raise RuntimeError("the mesh is gone")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    assert target.read_bytes() == b"before"


def test_without_pyarrow_a_sentence_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ParquetMissing, match=r"pip install 'penstock\[parquet\]'"):
        FocusFile(tmp_path / "month.parquet", COLUMNS)
