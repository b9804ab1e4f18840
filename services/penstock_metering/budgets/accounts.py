"""What is spent of each budget?

Settles attempts for which something was reserved, and counts what is spent in the present period.
Each step is one bounded transaction. It does not know how budgets are set.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from penstock_contracts.budgets import GPU_TIME, MONTH, grant_key
from penstock_contracts.prices import PriceVersion
from penstock_metering.budgets import tables
from penstock_metering.budgets.telling import read_accounts, tell_if_new, tell_rates
from penstock_metering.core.months import month_days, month_of
from penstock_metering.core.settling import Use, rounded_up, settle, used, warned
from penstock_metering.ledger import schema
from penstock_metering.rating import tables as rating
from penstock_metering.rating.price_book import read_versions
from penstock_metering.rating.rater import rate_some

log = logging.getLogger(__name__)

GRANTS_AT_ONCE = 200
LEASES_AT_ONCE = 500
ROLL_MARGIN_MS = 120_000
"""A month is over for budgets so long after its end: what was used in it is in the ledger then, and
clocks differ by less."""
LATE_MS = 24 * 3_600_000
"""An attempt whose host never told how much it used is called over after this."""

_accounts, _grants = tables.budget_accounts, tables.budget_grants
_leases, _raw = schema.leases, schema.raw_segments
_rated, _days, _dirty = rating.rated, rating.usage_days, rating.dirty_leases


def step(connection: sa.Connection, now_ms: int) -> bool:
    """Settle some attempts and say what has changed; whether there may be more to do."""
    accounts = {row.budget_id: dict(row._mapping) for row in read_accounts(connection)}
    if not accounts:
        return False
    before = {budget_id: dict(account) for budget_id, account in accounts.items()}
    if len(rate_some(connection, LEASES_AT_ONCE)) == LEASES_AT_ONCE:
        return True  # a new budget is not told before all it counts is known
    prices = {version.version: version for version in read_versions(connection)}
    tell_rates(connection, prices.values(), now_ms)
    grants = _settleable(connection, now_ms)
    changed = _settle_all(connection, grants, accounts, prices, now_ms)
    for budget_id, account in accounts.items():
        settled, over = changed.get(budget_id, ({}, []))
        _count(connection, account, prices, now_ms)
        tell_if_new(connection, account, settled, over)
        if account != before[budget_id]:
            connection.execute(
                sa.update(_accounts).where(_accounts.c.budget_id == budget_id).values(**account)
            )
    return len(grants) == GRANTS_AT_ONCE


def _settleable(connection: sa.Connection, now_ms: int) -> list[dict[str, Any]]:
    """Of which there is something new, and all that is known is rated."""
    same = [_dirty.c[name] == _grants.c[name] for name in ("lease_seq", "job_id")]
    due = sa.and_(_grants.c.over == 0, _grants.c.due_ms <= now_ms)
    rows = connection.execute(
        sa.select(_grants)
        .where(sa.or_(_grants.c.dirty == 1, due), ~sa.exists().where(*same))
        .order_by(*_grants.primary_key.columns)
        .limit(GRANTS_AT_ONCE)
    )
    return [dict(row._mapping) for row in rows]


_Changed = dict[str, tuple[dict[str, int], list[str]]]
"""By budget: what is settled of which attempt, and which are over."""
_Key = tuple[int, str]
"""(lease sequence, job id): an attempt."""


def _settle_all(
    connection: sa.Connection,
    grants: Sequence[dict[str, Any]],
    accounts: Mapping[str, dict[str, Any]],
    prices: Mapping[int, PriceVersion],
    now_ms: int,
) -> _Changed:
    changed: _Changed = {}
    seqs = sorted({grant["lease_seq"] for grant in grants})
    uses, ends = _uses_of(connection, seqs), _ends_of(connection, seqs)
    for grant in grants:
        key = (grant["lease_seq"], grant["job_id"])
        account, was_over = accounts.get(grant["budget_id"]), grant["over"]
        grant["dirty"] = 0
        if account is None:  # the budget is gone, and nobody waits for this
            grant["over"] = 1
            continue
        amount = used(uses.get(key, ()), account["unit"], account["currency"], prices)
        found = settle(amount, grant["charged"] if was_over else grant["reserved"])
        account["excess"] += found.excess - grant["excess"]
        if account["prepaid"]:
            account["spent"] += found.charged - grant["charged"]
        over, due_ms = (1, None) if was_over else _whether_over(ends.get(key), now_ms)
        settled, ended = changed.setdefault(grant["budget_id"], ({}, []))
        if over and not was_over:
            ended.append(grant_key(*key))
        elif found.charged != grant["charged"]:
            settled[grant_key(*key)] = found.charged
        grant.update(charged=found.charged, excess=found.excess, over=over, due_ms=due_ms)
    _store(connection, grants)
    return changed


def _store(connection: sa.Connection, grants: Sequence[dict[str, Any]]) -> None:
    if not grants:
        return
    keys = [column.name for column in _grants.primary_key.columns]
    changing = ("charged", "excess", "over", "due_ms", "dirty")
    statement = (
        sa.update(_grants)
        .where(*(_grants.c[name] == sa.bindparam(f"key_{name}") for name in keys))
        .values({name: sa.bindparam(f"new_{name}") for name in changing})
    )
    rows = [
        {f"key_{name}": grant[name] for name in keys}
        | {f"new_{name}": grant[name] for name in changing}
        for grant in grants
    ]
    connection.execute(statement, rows)


def _uses_of(connection: sa.Connection, seqs: Sequence[int]) -> dict[_Key, list[Use]]:
    """Of all attempts granted in these entries."""
    found: dict[_Key, list[Use]] = {}
    for row in connection.execute(
        sa.select(
            _rated.c.lease_seq, _rated.c.job_id, *(_rated.c[name] for name in Use._fields)
        ).where(_rated.c.lease_seq.in_(seqs))
    ):
        found.setdefault((row[0], row[1]), []).append(Use._make(row[2:]))
    return found


class _End(NamedTuple):
    """When all ranks of an attempt were released (None = not yet), and whether every segment that
    they announced is here."""

    released_ms: int | None
    complete: bool


def _ends_of(connection: sa.Connection, seqs: Sequence[int]) -> dict[_Key, _End]:
    same = [_raw.c[name] == _leases.c[name] for name in ("lease_seq", "job_id", "rank")]
    here = sa.select(sa.func.count()).where(*same).scalar_subquery()
    found: dict[_Key, _End] = {}
    for row in connection.execute(
        sa.select(
            _leases.c.lease_seq, _leases.c.job_id, _leases.c.released_ms, _leases.c.segments, here
        ).where(_leases.c.lease_seq.in_(seqs))
    ):
        seq, job_id, released_ms, segments, had = row
        rank = _End(released_ms, segments is not None and had >= segments)
        known = found.get((seq, job_id), rank)
        times = (known.released_ms, rank.released_ms)
        all_released = None if None in times else max(t for t in times if t is not None)
        found[seq, job_id] = _End(all_released, known.complete and rank.complete)
    return found


def _whether_over(end: _End | None, now_ms: int) -> tuple[int, int | None]:
    """Whether an attempt costs nothing more; else when that is taken for granted."""
    if end is None or end.released_ms is None:
        return 0, None
    due_ms = end.released_ms + LATE_MS
    return (1, None) if end.complete or now_ms >= due_ms else (0, due_ms)


def _count(
    connection: sa.Connection,
    account: dict[str, Any],
    prices: Mapping[int, PriceVersion],
    now_ms: int,
) -> None:
    """What is spent in the period that it is now; of a credit that is what attempts were charged.
    Of other money what attempts cost beyond what was reserved for them, at a price that was raised
    meanwhile, is not the tenant's either. A period never goes back."""
    if account["per"] == MONTH:
        period = max(account["period"], month_of(max(0, now_ms - ROLL_MARGIN_MS)))
        if period != account["period"]:
            account.update(period=period, warned_percent=0, excess=0)
    if not account["prepaid"]:
        uses = _uses_in(connection, account)
        amount = used(uses, account["unit"], account["currency"], prices)
        beyond = 0 if account["unit"] == GPU_TIME else account["excess"]
        account["spent"] = max(0, rounded_up(amount) - beyond)
    thresholds = msgspec.json.decode(account["warn_percent"], type=tuple[int, ...])
    percent = warned(account["spent"], account["amount"], thresholds)
    if percent > account["warned_percent"]:
        account["warned_percent"] = percent
        unit = "milli-GPU ms" if account["unit"] == GPU_TIME else account["currency"] + "/10^6"
        log.warning(
            "budget %s of %s has reached %d %%: %d of %d %s",
            account["budget_id"], account["tenant"], percent, account["spent"],
            account["amount"], unit,
        )  # fmt: skip


def _uses_in(connection: sa.Connection, account: Mapping[str, Any]) -> list[Use]:
    where = [_days.c.tenant == account["tenant"]]
    if account["project"]:
        where.append(_days.c.project == account["project"])
    if account["period"]:
        days = month_days(account["period"])
        where += [_days.c.day >= days.start, _days.c.day < days.stop]
    grouped = (_days.c.price_version, _days.c.unit, _days.c.state)
    rows = connection.execute(
        sa.select(*grouped, sa.func.sum(_days.c.quantity), sa.func.sum(_days.c.billed_quantity))
        .where(*where)
        .group_by(*grouped)
    )
    return [Use(row[0], row[1], row[2], int(row[3]), int(row[4])) for row in rows]
