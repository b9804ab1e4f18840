"""Are ids, lengths of time, amounts, addresses and files read and written as people do?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_client.address import Address, context_path, resolve
from penstock_client.commands.tables import align, printable
from penstock_client.durations import (
    format_duration,
    format_gpu_hours,
    format_money,
    parse_duration_s,
    parse_instant_ms,
)
from penstock_client.failures import Refused
from penstock_client.specifications import read_jobs
from penstock_client.ulids import Ulids
from penstock_contracts.ids import is_ulid, ulid_time_ms

NOW_MS = 1_800_000_000_000


def test_ids_ascend_within_a_millisecond_and_when_the_clock_steps_back() -> None:
    times = iter([5_000_000, 5_000_000, 4_000_000, 5_100_000, 6_000_000])
    ulids = Ulids(lambda: next(times))
    made = [ulids.next() for _ in range(5)]
    assert made == sorted(set(made))
    assert all(map(is_ulid, made))
    assert [ulid_time_ms(text) for text in made] == [5, 5, 5, 5, 6]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("2d", 172_800), ("1H 5", 3605)],
)
def test_lengths_of_time_are_read(text: str, seconds: int) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-5", "5 years", "m", "1.5h", "9" * 30, "5s3m", "٣"])
def test_other_text_is_no_length_of_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|century"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-02", 86_400_000),
        ("1970-01-01T00:00:01", 1000),
        ("1970-01-01T01:00:00+01:00", 0),
        ("24h", NOW_MS - 86_400_000),
    ],
)
def test_instants_are_read_as_utc_or_as_ago(text: str, ms: int) -> None:
    assert parse_instant_ms(text, NOW_MS) == ms


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, "-"),
        (12, "12ms"),
        (4_200, "4.2s"),
        (185_000, "3m 05s"),
        (3_720_000, "1h 02m"),
        (200_000_000, "2d 07h"),
    ],
)
def test_lengths_of_time_are_written(ms: int | None, text: str) -> None:
    assert format_duration(ms) == text


@pytest.mark.lesson(24)
def test_unknown_amounts_are_not_written_as_zero() -> None:
    assert format_money(None, "USD") == "-"
    assert format_gpu_hours(None) == "-"
    assert format_money(-1_500_000, "USD") == "-1.500000 USD"
    assert format_gpu_hours(3_600_000_000) == "1.000000"


@given(st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9)), min_size=1))
def test_a_table_has_one_line_a_row_whatever_stands_in_it(rows: list[tuple[str, str]]) -> None:
    shown = [[printable(cell) for cell in row] for row in rows]
    assert len(align(shown).split("\n")) == len(rows)


def written(tmp_path: Path) -> dict[str, str]:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    path = context_path(environ)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"nats_url": "nats://here:1", "creds": "/mine"}), encoding="utf-8")
    return environ


def test_a_flag_wins_over_the_environment_and_that_over_the_context(tmp_path: Path) -> None:
    environ = written(tmp_path)
    assert resolve(None, None, environ) == Address("nats://here:1", "/mine", "context")
    environ |= {"PENSTOCK_NATS_URL": "nats://env:1", "PENSTOCK_NATS_CREDS": "/env"}
    assert resolve(None, None, environ) == Address("nats://env:1", "/env", "PENSTOCK_NATS_URL")
    flags = resolve("nats://flag:1", "/flag", environ)
    assert flags == Address("nats://flag:1", "/flag", "--url")


def test_the_credential_of_one_mesh_is_not_sent_to_another(tmp_path: Path) -> None:
    environ = written(tmp_path)
    assert resolve("nats://elsewhere:1", None, environ).creds is None
    assert resolve("nats://here:1", None, environ).creds == "/mine"


def test_without_anything_the_default_is_this_machine(tmp_path: Path) -> None:
    address = resolve(None, None, {"HOME": str(tmp_path)})
    assert address == Address("nats://127.0.0.1:4222", None, "default")
    assert context_path({"HOME": "/h"}) == Path("/h/.config/penstock/context.json")


def test_a_broken_context_file_is_named(tmp_path: Path) -> None:
    environ = written(tmp_path)
    context_path(environ).write_text("{", encoding="utf-8")
    with pytest.raises(Refused, match=r"context\.json"):
        resolve(None, None, environ)


@given(st.text(max_size=200))
def test_any_text_is_jobs_or_a_refusal(text: str) -> None:
    try:
        jobs = read_jobs(text, lambda: "01ARZ3NDEKTSV4RRFFQ69G5FAV")
    except Refused as error:
        assert error.refusal.message
    else:
        assert jobs


@pytest.mark.parametrize("bomb", ["[" * 5000, "a: &a [*a]", "&a [*a, *a]", "{a: !!python/x 1}"])
def test_hostile_files_are_refused(bomb: str) -> None:
    with pytest.raises(Refused):
        read_jobs(bomb, lambda: "01ARZ3NDEKTSV4RRFFQ69G5FAV")
