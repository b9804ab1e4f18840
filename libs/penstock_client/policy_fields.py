"""How does an operator write each part of the queue's policy?

The table of the file's fields: GPUs and cores as numbers, lengths of time as `10m`, instants as
TOML has them; each back and forth to the contract's field. It does not know where they are written,
nor which go together.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, get_args

import msgspec

from penstock_client.durations import parse_duration_s
from penstock_contracts.jobs import SECONDS_MAX
from penstock_contracts.queue_policy import (
    NODES_RESERVED_MAX,
    POOLS_MAX,
    QUOTAS_MAX,
    RESERVATIONS_MAX,
    WEIGHT_MAX,
    Backfill,
    Order,
    Pool,
    Preempt,
    QueuePolicy,
    Quota,
    Reservation,
)

PARTS: dict[str, tuple[Any, int]] = {
    "pools": (Pool, POOLS_MAX),
    "quotas": (Quota, QUOTAS_MAX),
    "reservations": (Reservation, RESERVATIONS_MAX),
}
"""What each is made of, and how many there may be."""
MILLI = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Field(msgspec.Struct, frozen=True):
    """`name` and `type`: the contract's. `rule` ends "… is not". `take` raises ValueError for what
    is not even nearly right; `give` is the way back, to a value that TOML has. `typed`: to such a
    value from a word of a command line."""

    name: str
    type: Any
    rule: str
    take: Callable[[Any], Any]
    give: Callable[[Any], Any]
    typed: Callable[[str], Any]
    required: bool = False

    def read(self, value: Any) -> Any:
        """Raises ValueError (msgspec's is one)."""
        return msgspec.convert(self.take(value), self.type)

    def read_word(self, word: Any) -> Any:
        """The same of a word of a command line. Raises ValueError with a sentence."""
        try:
            return self.read(self.typed(word) if isinstance(word, str) else word)
        except (ValueError, ArithmeticError) as error:
            raise ValueError(f"{str(word)[:60]!r} is not {self.rule}") from error


# -- values back and forth
def _same(value: Any) -> Any:
    return value


def _flag(value: Any) -> Any:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _count(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError
    return value


def _milli(value: Any) -> int:
    """Of a number: thousandths, which must be whole."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise ValueError
    if isinstance(value, Decimal) and not (value.is_finite() and abs(value) < 10**12):
        raise ValueError
    milli = value * MILLI
    if milli != int(milli):
        raise ValueError
    return int(milli)


def _number(milli: int) -> int | Decimal:
    return milli // MILLI if milli % MILLI == 0 else Decimal(milli) / MILLI


def _seconds(value: Any) -> int:
    if isinstance(value, str):
        return parse_duration_s(value)
    return int(_count(value))


def format_seconds(seconds: int) -> str:
    """As `parse_duration_s` reads it."""
    text = ""
    for size, letter in ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")):
        amount, seconds = divmod(seconds, size)
        text += f"{amount}{letter}" if amount else ""
    return text or "0s"


def _instant_ms(value: Any) -> int:
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        raise ValueError
    moment = value if value.tzinfo else value.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _moment(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)


# -- the table
def _types(kind: Any) -> dict[str, tuple[Any, bool]]:
    return {one.name: (one.type, one.required) for one in msgspec.structs.fields(kind)}


def _one_of(literal: Any) -> str:
    return "one of " + ", ".join(get_args(literal))


_NAME = "a name: up to 63 letters, digits, and _ . - between"
_TENANT = "a name: up to 63 letters, digits, and _ - between"
_GPUS = "a number of GPUs from 0 to 1000000, down to thousandths"
_CORES = "a number of cores from 0 to 1000000, down to thousandths"
_LENGTH = f"a length of time such as 30s, 10m or 1h30m, up to {SECONDS_MAX // 86_400}d"
_INSTANT = "an instant such as 2026-12-01T08:00:00Z (in a file without quotes)"
_JOBS = "a whole number of jobs from 0 to 500000"
_WEIGHT = f"a whole number from 1 to {WEIGHT_MAX}"
_FLAG = "true or false"
_LABELS = 'labels such as { rack = "r1" }'
_NODES = f'a list of up to {NODES_RESERVED_MAX} names of nodes such as ["node-a"]'

_WAYS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], Callable[[str], Any]]] = {
    _GPUS: (_milli, _number, Decimal),
    _CORES: (_milli, _number, Decimal),
    _JOBS: (_count, _same, int),
    _WEIGHT: (_count, _same, int),
    _LENGTH: (_seconds, format_seconds, _same),
    _INSTANT: (_instant_ms, _moment, datetime.fromisoformat),
    _FLAG: (_flag, _same, _same),
}


def _fields(kind: Any, **rules: tuple[str, str]) -> dict[str, Field]:
    """`rules`: for each field of the file, the contract's and its rule."""
    types = _types(kind)
    found = {}
    for name, (contracts, rule) in rules.items():
        of_type, required = types[contracts]
        take, give, typed = _WAYS.get(rule, (_same, _same, _same))
        found[name] = Field(contracts, of_type, rule, take, give, typed, required)
    return found


FIELDS: dict[str, dict[str, Field]] = {
    "pools": _fields(
        Pool,
        name=("name", _NAME),
        node_labels=("node_labels", _LABELS),
        order=("order", _one_of(Order)),
        backfill=("backfill", _one_of(Backfill)),
        preempt=("preempt", _one_of(Preempt)),
        hold=("hold_s", _LENGTH),
        aging=("aging_s", _LENGTH),
    ),
    "quotas": _fields(
        Quota,
        name=("name", _NAME),
        parent=("parent", _NAME),
        pool=("pool", _NAME),
        tenant=("tenant", _TENANT),
        project=("project", _TENANT),
        guaranteed_gpus=("guaranteed_gpu_milli", _GPUS),
        maximum_gpus=("maximum_gpu_milli", _GPUS),
        maximum_cores=("maximum_cpu_milli", _CORES),
        queued_max=("queued_max", _JOBS),
        weight=("weight", _WEIGHT),
    ),
    "reservations": _fields(
        Reservation,
        name=("name", _NAME),
        start=("start_ms", _INSTANT),
        end=("end_ms", _INSTANT),
        nodes=("nodes", _NODES),
        node_labels=("node_labels", _LABELS),
        tenant=("tenant", _TENANT),
        project=("project", _TENANT),
        reason=("reason", "a text on one line of up to 256 letters"),
    ),
}
TOP: dict[str, Field] = _fields(
    QueuePolicy, half_life=("half_life_s", _LENGTH), predicts=("predicts", _FLAG)
)
"""What the file says outside of any table."""
