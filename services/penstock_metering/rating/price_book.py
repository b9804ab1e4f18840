"""How is the price book kept?

Versions are only added. Whatever adds one also sees to it that use which it changes the price of
is rated again: that of leases which had run past the instant it holds from. It does not know which
versions a wish leads to.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
import sqlalchemy as sa

from penstock_contracts.errors import Refusal
from penstock_contracts.price_book import PricesQuery, PricesView, SetPrice
from penstock_contracts.prices import PriceVersion
from penstock_contracts.queries import PAGE_MAX
from penstock_metering.core.book import DEFAULT_PRICES, PriceBook
from penstock_metering.core.pricing import new_versions
from penstock_metering.rating import tables
from penstock_metering.rating.marks import mark_again

_prices = tables.price_versions
_encode = msgspec.json.Encoder().encode


def read_versions(connection: sa.Connection) -> list[PriceVersion]:
    """All there are, by number."""
    return [
        _read(row) for row in connection.execute(sa.select(_prices).order_by(_prices.c.version))
    ]


def read_book(connection: sa.Connection) -> PriceBook:
    """The same one as before while nothing is added: what it has worked out is kept."""
    row = connection.execute(
        sa.select(sa.func.max(_prices.c.version), sa.func.sum(_prices.c.set_ms))
    ).one()
    known = _BOOKS.get(connection.engine)
    if known is None or known[0] != tuple(row):
        known = _BOOKS[connection.engine] = (tuple(row), PriceBook(read_versions(connection)))
    return known[1]


_BOOKS: WeakKeyDictionary[sa.Engine, tuple[tuple[Any, ...], PriceBook]] = WeakKeyDictionary()


def newest_version(connection: sa.Connection) -> int:
    """The book is the same as long as this is."""
    return connection.execute(sa.select(sa.func.max(_prices.c.version))).scalar() or 0


def insert_default_prices(connection: sa.Connection) -> None:
    """A new mesh's prices."""
    if not newest_version(connection):
        connection.execute(sa.insert(_prices), [_values(price, 0) for price in DEFAULT_PRICES])


def set_price(connection: sa.Connection, wish: SetPrice, now_ms: int) -> PricesView | Refusal:
    """Within the writer's transaction."""
    found = new_versions(read_versions(connection), wish, now_ms)
    if isinstance(found, Refusal):
        return found
    add_versions(connection, found, now_ms)
    return PricesView(tuple(found), now_ms)


def add_versions(connection: sa.Connection, versions: Iterable[PriceVersion], now_ms: int) -> None:
    """The one place where prices come in."""
    added = list(versions)
    connection.execute(sa.insert(_prices), [_values(version, now_ms) for version in added])
    _rate_again(connection, min(version.effective_from_ms for version in added))


def answer_prices(connection: sa.Connection, query: PricesQuery, now_ms: int) -> PricesView:
    at_ms = now_ms if query.at_ms is None else query.at_ms
    found = [
        version
        for version in read_versions(connection)
        if (not query.sku or version.sku == query.sku)
        and (not query.tenant or version.tenant == query.tenant)
    ]
    if not query.history:
        found = [version for version in found if not is_over(version, found, at_ms)]
    found = [version for version in found if version.version > query.after]
    return PricesView(tuple(found[:PAGE_MAX]), now_ms, more=len(found) > PAGE_MAX)


def _values(version: PriceVersion, now_ms: int) -> dict[str, Any]:
    values = msgspec.structs.asdict(version)
    return {**values, "billable": _encode(version.billable).decode(), "set_ms": now_ms}


def _read(row: Any) -> PriceVersion:
    values = dict(row._mapping)
    del values["set_ms"]
    values["billable"] = tuple(msgspec.json.decode(values["billable"]))
    return PriceVersion(**values)


def is_over(version: PriceVersion, others: Iterable[PriceVersion], at_ms: int) -> bool:
    """Whether a later version of the same price holds by then."""
    own = (version.sku, version.tenant, version.site, version.tier)
    place = (version.effective_from_ms, version.version)
    return any(
        other.effective_from_ms <= at_ms
        and (other.effective_from_ms, other.version) > place
        and (other.sku, other.tenant, other.site, other.tier) == own
        for other in others
    )


def _rate_again(connection: sa.Connection, from_ms: int) -> None:
    """Clocks of hosts differ by a little: some leases have run past now already."""
    keys = connection.execute(_RAN_ON, {"from_ms": from_ms})
    mark_again(connection, [(row.lease_seq, row.job_id, row.rank) for row in keys])


_RAN_ON = sa.text(
    "SELECT DISTINCT r.lease_seq, r.job_id, r.rank FROM leases s CROSS JOIN rated r "
    "WHERE (s.released_ms IS NULL OR s.released_ms > :from_ms) AND r.lease_seq = s.lease_seq "
    "AND r.job_id = s.job_id AND r.rank = s.rank AND r.t1_ms > :from_ms"
)
"""Begins at the leases, of which few are left: `CROSS JOIN` is how SQLite is told."""
