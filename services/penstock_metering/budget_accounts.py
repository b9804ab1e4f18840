"""What is spent of each budget?

Settles attempts for which something was reserved, and counts what is spent in the present period.
Each step is one bounded transaction. It does not know how budgets are set.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from penstock_contracts.budgets import GPU_TIME, MONTH, grant_key
from penstock_contracts.prices import PriceVersion
from penstock_metering import schema
from penstock_metering import schema_budgets as tables
from penstock_metering import schema_rating as rating
from penstock_metering.budget_telling import read_accounts, tell_if_new, tell_rates
from penstock_metering.core.months import month_days, month_of
from penstock_metering.core.settling import Use, rounded_up, settle, used, warned
from penstock_metering.price_book import read_versions
from penstock_metering.rater import rate_some

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


def _settle_all(
    connection: sa.Connection,
    grants: Sequence[dict[str, Any]],
    accounts: Mapping[str, dict[str, Any]],
    prices: Mapping[int, PriceVersion],
    now_ms: int,
) -> _Changed:
    changed: _Changed = {}
    uses: dict[tuple[int, str], list[Use]] = {}
    for grant in grants:
        key = (grant["lease_seq"], grant["job_id"])
        account = accounts.get(grant["budget_id"])
        if account is None:  # the budget is gone, and nobody waits for this
            _store(connection, grant, {"dirty": 0, "over": 1})
            continue
        if key not in uses:
            uses[key] = _uses_of(connection, *key)
        amount = used(uses[key], account["unit"], account["currency"], prices)
        found = settle(amount, grant["charged"] if grant["over"] else grant["reserved"])
        over, due_ms = (1, None) if grant["over"] else _whether_over(connection, *key, now_ms)
        after = {
            "charged": found.charged, "excess": found.excess,
            "over": over, "due_ms": due_ms, "dirty": 0,
        }  # fmt: skip
        account["excess"] += found.excess - grant["excess"]
        if account["prepaid"]:
            account["spent"] += found.charged - grant["charged"]
        settled, ended = changed.setdefault(grant["budget_id"], ({}, []))
        if over and not grant["over"]:
            ended.append(grant_key(*key))
        elif found.charged != grant["charged"]:
            settled[grant_key(*key)] = found.charged
        _store(connection, grant, after)
    return changed


def _store(connection: sa.Connection, grant: dict[str, Any], after: dict[str, Any]) -> None:
    key = [column == grant[column.name] for column in _grants.primary_key.columns]
    connection.execute(sa.update(_grants).where(*key).values(**after))


def _uses_of(connection: sa.Connection, lease_seq: int, job_id: str) -> list[Use]:
    rows = connection.execute(
        sa.select(*(_rated.c[name] for name in Use._fields)).where(
            _rated.c.lease_seq == lease_seq, _rated.c.job_id == job_id
        )
    )
    return [Use._make(row) for row in rows]


def _whether_over(
    connection: sa.Connection, lease_seq: int, job_id: str, now_ms: int
) -> tuple[int, int | None]:
    """Whether all ranks are released and all their segments here; else when that is given up."""
    of_grant = [_leases.c.lease_seq == lease_seq, _leases.c.job_id == job_id]
    ranks = connection.execute(
        sa.select(_leases.c.rank, _leases.c.segments, _leases.c.released_ms).where(*of_grant)
    ).all()
    if not ranks or any(rank.released_ms is None for rank in ranks):
        return 0, None
    due_ms = max(rank.released_ms for rank in ranks) + LATE_MS
    had = connection.execute(
        sa.select(_raw.c.rank, sa.func.count())
        .where(_raw.c.lease_seq == lease_seq, _raw.c.job_id == job_id)
        .group_by(_raw.c.rank)
    )
    counts = {row[0]: row[1] for row in had}
    complete = all(
        rank.segments is not None and counts.get(rank.rank, 0) >= rank.segments for rank in ranks
    )
    if complete or now_ms >= due_ms:
        return 1, None
    return 0, due_ms


def _count(
    connection: sa.Connection,
    account: dict[str, Any],
    prices: Mapping[int, PriceVersion],
    now_ms: int,
) -> None:
    """What is spent in the period that it is now; of a credit that is what attempts were charged.
    A period never goes back."""
    if account["per"] == MONTH:
        period = max(account["period"], month_of(max(0, now_ms - ROLL_MARGIN_MS)))
        if period != account["period"]:
            account.update(period=period, warned_percent=0)
    if not account["prepaid"]:
        uses = _uses_in(connection, account)
        amount = used(uses, account["unit"], account["currency"], prices)
        account["spent"] = max(0, rounded_up(amount))
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
