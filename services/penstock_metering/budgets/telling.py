"""What is the scheduler told about budgets?

What has changed since it heard last, and everything anew when another writer takes the ledger. It
does not know how the messages travel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from penstock_contracts.budgets import RATES_MAX, SETTLED_MAX, STOP, BudgetState, Rates, grant_key
from penstock_contracts.prices import PriceVersion
from penstock_metering.budgets import tables
from penstock_metering.budgets.outbox import put
from penstock_metering.ledger import schema
from penstock_metering.rating.price_book import is_over, read_versions

RATES_TOLD = "BUDGETS rates"
"""Among the cursors: the newest price that the scheduler was told."""

_accounts, _grants, _cursors = tables.budget_accounts, tables.budget_grants, schema.cursors
_encode = msgspec.json.Encoder().encode


class Told(msgspec.Struct, frozen=True):
    """What of an account the scheduler has heard."""

    acts: str
    limit: int
    spent: int
    period: str
    project: str


def read_accounts(connection: sa.Connection, tenant: str = "") -> Sequence[sa.Row[Any]]:
    """By id; of one tenant or of all."""
    asked = sa.select(_accounts).order_by(_accounts.c.budget_id)
    return connection.execute(asked.where(_accounts.c.tenant == tenant) if tenant else asked).all()


def tell_rates(connection: sa.Connection, versions: Iterable[PriceVersion], now_ms: int) -> None:
    """All prices that hold or will, when one was added since they were told."""
    known = sorted(versions, key=lambda version: version.version)
    newest = known[-1].version if known else 0
    told = connection.execute(
        sa.select(_cursors.c.seq).where(_cursors.c.stream == RATES_TOLD)
    ).scalar()
    if told == newest:
        return
    counted = tuple(v for v in known if not is_over(v, known, now_ms))[-RATES_MAX:]
    put(connection, lambda number: Rates(number, counted))
    if told is None:
        connection.execute(sa.insert(_cursors).values(stream=RATES_TOLD, seq=newest))
    else:
        connection.execute(
            sa.update(_cursors).where(_cursors.c.stream == RATES_TOLD).values(seq=newest)
        )


def tell_if_new(
    connection: sa.Connection,
    account: dict[str, Any],
    settled: Mapping[str, int],
    over: Sequence[str],
) -> None:
    """`account` is changed to what was told."""
    told = _encode(
        Told(
            acts=account["acts"],
            limit=account["asked"],
            spent=account["spent"],
            period=account["period"],
            project=account["project"],
        )
    ).decode()
    if told == account["told"] and not settled and not over:
        return
    account["told"] = told
    state = state_of(account)
    keys = [*settled, *over]
    for begin in range(0, max(1, len(keys)), SETTLED_MAX):
        part = keys[begin : begin + SETTLED_MAX]
        some = {key: settled[key] for key in part if key in settled}
        ended = tuple(key for key in part if key not in settled)
        number = put(connection, _numbered(state, settled=some, over=ended))
    if account["asked"] != account["amount"] and account["asked_number"] is None:
        account["asked_number"] = number


def state_of(account: Mapping[str, Any]) -> BudgetState:
    """What the scheduler is told; the number is still to be given."""
    return BudgetState(
        number=0,
        budget_id=account["budget_id"],
        tenant=account["tenant"],
        project=account["project"],
        unit=account["unit"],
        currency=account["currency"],
        acts=account["acts"],
        limit=account["asked"],
        spent=account["spent"],
        period=account["period"],
        prepaid=bool(account["prepaid"]),
    )


def _numbered(state: BudgetState, **fields: Any) -> Any:
    return lambda number: msgspec.structs.replace(state, number=number, **fields)


def announce(connection: sa.Connection, now_ms: int) -> None:
    """Say everything anew: whoever writes the ledger from now on does not know what was heard."""
    accounts = read_accounts(connection)
    if not accounts:
        return
    connection.execute(sa.delete(_cursors).where(_cursors.c.stream == RATES_TOLD))
    tell_rates(connection, read_versions(connection), now_ms)
    jobs_seq = connection.execute(sa.select(_cursors.c.seq).where(_cursors.c.stream == "JOBS"))
    read_to = jobs_seq.scalar() or 0
    for row in accounts:
        if not row.told:
            continue
        settled = _open_grants(connection, row) if row.acts == STOP else {}
        keys, state = list(settled), state_of(dict(row._mapping))
        if len(keys) <= SETTLED_MAX:
            full = _numbered(state, settled=settled, full=True, jobs_seq=read_to)
            put(connection, full)
            continue
        for begin in range(0, len(keys), SETTLED_MAX):
            some = {key: settled[key] for key in keys[begin : begin + SETTLED_MAX]}
            put(connection, _numbered(state, settled=some))


def _open_grants(connection: sa.Connection, account: sa.Row[Any]) -> dict[str, int]:
    rows = connection.execute(
        sa.select(_grants.c.lease_seq, _grants.c.job_id, _grants.c.charged)
        .where(_grants.c.budget_id == account.budget_id, _grants.c.over == 0)
        .order_by(_grants.c.lease_seq, _grants.c.job_id)
    )
    return {grant_key(row.lease_seq, row.job_id): row.charged for row in rows}
