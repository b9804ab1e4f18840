"""How did one job's use become part of the lines of bills?

Every segment its agents sent, what of it counts, each stretch with its price, and the job's share
of each line down to the rounding. It does not compute anything anew but the shares.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from penstock_contracts.bills import (
    BillLine,
    JobAccount,
    JobAccountQuery,
    LeaseShown,
    RatedShown,
    SegmentShown,
    ShareShown,
)
from penstock_contracts.errors import Refusal
from penstock_contracts.prices import PriceVersion
from penstock_contracts.usage import Segment
from penstock_metering.bills import tables
from penstock_metering.bills.contents import closed_ms, open_lines, read_prices
from penstock_metering.bills.issuing import line_values
from penstock_metering.bills.views import bill_line
from penstock_metering.core.allocation import allocate
from penstock_metering.core.billing import USAGE, Item
from penstock_metering.ledger import schema
from penstock_metering.rating.tables import rated

SHOWN_MAX = 1_000
"""Segments, and stretches, in one answer: the newest."""

_jobs, _leases, _raw, _batches = (
    schema.jobs.c,
    schema.leases.c,
    schema.raw_segments.c,
    schema.usage_batches.c,
)
_rated, _lines, _invoices = rated.c, tables.invoice_lines.c, tables.invoices.c
_decode = msgspec.json.Decoder(Segment).decode

_LineKey = tuple[str, str, str, int, str]
"""Period, tenant, SKU, price version, corrected month."""


def answer_job_account(
    connection: sa.Connection, query: JobAccountQuery, now_ms: int
) -> JobAccount | Refusal:
    job = connection.execute(
        sa.select(_jobs.tenant, _jobs.state).where(_jobs.job_id == query.job_id)
    ).one_or_none()
    if job is None:
        return Refusal("unknown_job", f"no job {query.job_id[:64]} in history")
    leases = connection.execute(
        sa.select(schema.leases)
        .where(_leases.job_id == query.job_id)
        .order_by(_leases.lease_seq, _leases.rank)
    ).all()
    segments, is_cut = _segments(connection, query.job_id, leases)
    rows = _rated_rows(connection, query.job_id, leases)
    shown = rows[-SHOWN_MAX:]
    return JobAccount(
        job_id=query.job_id,
        tenant=job.tenant,
        project=leases[-1].project if leases else "",
        state=job.state,
        leases=tuple(_lease(row, segments, is_cut) for row in leases),
        rated=tuple(_rated_shown(row) for row in shown),
        shares=tuple(_shares(connection, query.job_id, rows)),
        cut=is_cut or len(shown) < len(rows),
    )


def _segments(
    connection: sa.Connection, job_id: str, leases: Sequence[Any]
) -> tuple[dict[tuple[int, int], list[SegmentShown]], bool]:
    """By lease and rank; and whether older ones are left out."""
    own = {(lease.lease_seq, lease.rank): lease for lease in leases}
    rows = connection.execute(
        sa.select(schema.raw_segments, _batches.node)
        .join(schema.usage_batches, _batches.number == _raw.batch_number, isouter=True)
        .where(_raw.lease_seq.in_(sorted({seq for seq, _ in own})), _raw.job_id == job_id)
        .order_by(_raw.lease_seq.desc(), _raw.rank.desc(), _raw.seq.desc())
        .limit(SHOWN_MAX + 1)
    ).all()
    found: dict[tuple[int, int], list[SegmentShown]] = {}
    for row in reversed(rows[:SHOWN_MAX]):
        lease = own.get((row.lease_seq, row.rank))
        if lease is not None:
            shown = _segment(_decode(row.payload), lease, row.node)
            found.setdefault((row.lease_seq, row.rank), []).append(shown)
    return found, len(rows) > SHOWN_MAX


def _segment(said: Segment, lease: Any, node: str | None) -> SegmentShown:
    first = max(said.t0_ms, lease.granted_ms)
    last = said.t1_ms if lease.released_ms is None else min(said.t1_ms, lease.released_ms)
    counted: int | None = max(0, last - first)
    why = "" if counted == said.t1_ms - said.t0_ms else "only what lies inside the lease counts"
    if node is not None and node != lease.node:
        counted, why = None, f"sent by {node}, the lease is on {lease.node}"
    return SegmentShown(
        seq=said.seq,
        t0_ms=said.t0_ms,
        t1_ms=said.t1_ms,
        counted_ms=counted,
        devices=said.devices,
        milli=said.gpu_milli if said.devices else said.cpu_milli,
        why=why,
    )


def _lease(row: Any, segments: dict[tuple[int, int], list[SegmentShown]], cut: bool) -> LeaseShown:
    own = segments.get((row.lease_seq, row.rank), [])
    return LeaseShown(
        lease_seq=row.lease_seq,
        attempt=row.attempt,
        rank=row.rank,
        node=row.node,
        granted_ms=row.granted_ms,
        started_ms=row.started_ms,
        exited_ms=row.exited_ms,
        released_ms=row.released_ms,
        reason=row.reason,
        segments_said=row.segments,
        segments=tuple(own),
        removed=bool(row.segments) and not own and not cut and row.started_ms is not None,
    )


def _rated_rows(connection: sa.Connection, job_id: str, leases: Sequence[Any]) -> list[Any]:
    seqs = sorted({lease.lease_seq for lease in leases})
    return list(
        connection.execute(
            sa.select(rated)
            .where(_rated.lease_seq.in_(seqs), _rated.job_id == job_id)
            .order_by(_rated.lease_seq, _rated.rank, _rated.t0_ms, _rated.part)
        )
    )


def _rated_shown(row: Any) -> RatedShown:
    return RatedShown(
        lease_seq=row.lease_seq,
        rank=row.rank,
        device=row.device,
        sku=row.sku,
        price_version=row.price_version,
        state=row.state,
        from_ms=row.t0_ms,
        to_ms=row.t1_ms,
        quantity=row.quantity,
        billed_quantity=row.billed_quantity,
        period=row.period,
        corrects=row.corrects,
    )


def _shares(connection: sa.Connection, job_id: str, rows: Iterable[Any]) -> list[ShareShown]:
    prices = read_prices(connection)
    keys = sorted(
        {
            (row.period, row.tenant, row.sku, row.price_version, row.corrects)
            for row in rows
            if row.price_version
        }
    )
    lines: dict[tuple[str, str], dict[_LineKey, tuple[str, BillLine]]] = {}
    found = []
    for key in keys:
        of = (key[0], key[1])
        if of not in lines:
            lines[of] = _lines_of(connection, *of, prices)
        if key in lines[of]:
            found.append(_share(connection, job_id, key, *lines[of][key], prices[key[3]]))
    return found


def _lines_of(
    connection: sa.Connection, period: str, tenant: str, prices: dict[int, PriceVersion]
) -> dict[_LineKey, tuple[str, BillLine]]:
    """The tenant's lines in that period, each with the number of its document ("" = a draft)."""
    named: list[tuple[str, BillLine]] = []
    if closed_ms(connection, period) is None:
        for line in open_lines(connection, period, tenant):
            item = Item(kind=USAGE, amount_micro=line.amount_micro, line=line)
            named.append(("", bill_line(line_values(0, item), prices)))
    else:
        stored = connection.execute(
            sa.select(tables.invoice_lines, _invoices.number.label("document"))
            .join(tables.invoices, _invoices.invoice_id == _lines.invoice_id)
            .where(_invoices.period == period, _lines.tenant == tenant, _lines.kind == USAGE)
        )
        named = [(row.document, bill_line(dict(row._mapping), prices)) for row in stored]
    return {
        (period, tenant, line.sku, line.price_version, line.corrects): (document, line)
        for document, line in named
    }


def _share(
    connection: sa.Connection,
    job_id: str,
    key: _LineKey,
    document: str,
    line: BillLine,
    price: PriceVersion,
) -> ShareShown:
    """Every job on the line gets its part, in the order of their ids, so that they sum to it."""
    period, tenant, sku, version, corrects = key
    weighed = connection.execute(
        sa.select(_rated.job_id, sa.func.sum(_rated.billed_quantity).label("billed"))
        .where(
            _rated.period == period,
            _rated.tenant == tenant,
            _rated.sku == sku,
            _rated.price_version == version,
            _rated.corrects == corrects,
        )
        .group_by(_rated.job_id)
        .order_by(_rated.job_id)
    ).all()
    weights = [int(row.billed) for row in weighed]
    place = next(index for index, row in enumerate(weighed) if row.job_id == job_id)
    part = allocate(line.amount_micro, weights)[place]
    total, own = sum(weights), weights[place]
    if total < 0:
        total, own = -total, -own
    whole, rest = divmod(line.amount_micro * own, total) if total else (part, 0)
    return ShareShown(
        period=period,
        document=document,
        line=line,
        currency=price.currency,
        granularity_ms=price.granularity_ms,
        minimum_ms=price.minimum_ms,
        billed_quantity=weights[place],
        amount_micro=part,
        exact_micro=whole,
        exact_rest=rest,
        exact_of=total or 1,
        rounded_up=part > whole,
    )
