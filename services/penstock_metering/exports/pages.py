"""How does a month leave the ledger page by page, all of it as of one instant?

An export holds one read transaction open while its pages are fetched, so that months that still
change sum up like any other, and only one page is in memory. Nobody else waits for it: SQLite's
writers go on, and so do PostgreSQL's. One that is not asked for goes after a minute. It does not
know what charges mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable, Iterator
from functools import partial

import sqlalchemy as sa

from penstock_contracts.errors import Refusal
from penstock_contracts.exports import Charge, ExportPage, ExportQuery
from penstock_contracts.queries import PAGE_BYTES_MAX
from penstock_metering.bills.contents import read_party, read_prices
from penstock_metering.core.charges import charge_size, named_prices
from penstock_metering.core.months import month_bounds_ms, month_of
from penstock_metering.exports.charge_rows import is_closed, read_charges
from penstock_metering.ledger.database import POSTGRESQL, Database
from penstock_metering.threads import Run

EXPORTS_AT_ONCE_MAX = 4
IDLE_S_MAX = 60.0
PAGE_CHARGES_BYTES = PAGE_BYTES_MAX - 64 * 1024
"""Of a page, for charges; the rest is for the prices they name."""

_UNKNOWN = Refusal("unknown_export", "this export is over or was not asked for in time; begin anew")
_TOO_MANY = Refusal("unavailable", "other exports are running; ask again in a minute")


class _Export:
    """One that runs. All on the reader's thread."""

    def __init__(self, connection: sa.Connection, pages: Generator[ExportPage, None, None]) -> None:
        self._connection = connection
        self._pages = pages
        self.page = next(pages)

    def turn(self) -> None:
        self.page = next(self._pages)
        if not self.page.more:
            self.close()

    def close(self) -> None:
        self._pages.close()
        self._connection.close()


class Exports:
    """Answers `query.metering.export`, from the first page to the last. `run`: where reading may
    take seconds and keeps nobody waiting."""

    def __init__(self, database: Database, run: Run) -> None:
        self._database = database
        self._engine = database.reading
        self._run = run
        self._running: dict[str, _Export] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0

    async def first(self, now_ms: int, query: ExportQuery) -> ExportPage | Refusal:
        return self._watched(await self._run(self.begin, now_ms, query))

    async def later(self, query: ExportQuery) -> ExportPage | Refusal:
        return self._watched(await self._run(self.turn, query))

    def begin(self, now_ms: int, query: ExportQuery) -> ExportPage | Refusal:
        """The first page, on the reader's thread."""
        for over in [own for own, export in self._running.items() if not export.page.more]:
            self.end(over)
        if len(self._running) >= EXPORTS_AT_ONCE_MAX:
            return _TOO_MANY
        self._count += 1
        name = f"{now_ms}-{self._count}"
        connection = self._engine.connect()
        try:
            if self._database.dialect == POSTGRESQL:
                limit_ms = round(IDLE_S_MAX * 1000)
                setting = f"SET LOCAL idle_in_transaction_session_timeout = {limit_ms}"
                connection.execute(sa.text(setting))
            pages = _pages(connection, query, name, now_ms)
            is_shared = isinstance(self._engine.pool, sa.StaticPool)
            if is_shared:
                pages = _at_once(pages)  # its one connection is the writer's too
            export = _Export(connection, pages)
            if is_shared:
                connection.close()
            elif not export.page.more:
                export.close()
        except BaseException:
            connection.close()
            raise
        self._running[name] = export
        return export.page

    def turn(self, query: ExportQuery) -> ExportPage | Refusal:
        """A later page, or the same again, on the reader's thread."""
        export = self._running.get(query.export)
        if export is None or query.page not in (export.page.page, export.page.page + 1):
            return _UNKNOWN
        if query.page > export.page.page:
            if not export.page.more:
                return _UNKNOWN
            try:
                export.turn()
            except BaseException:
                self.end(query.export)
                raise
        return export.page

    def end(self, name: str) -> None:
        """On the reader's thread."""
        export = self._running.pop(name, None)
        if export is not None:
            export.close()

    def _watched(self, page: ExportPage | Refusal) -> ExportPage | Refusal:
        """Ends the export when nobody asks for its next page in time."""
        if isinstance(page, ExportPage):
            self._stop_timer(page.export)
            loop = asyncio.get_running_loop()
            over = partial(self._expire, page.export)
            self._timers[page.export] = loop.call_later(IDLE_S_MAX, over)
        return page

    async def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for name in list(self._running):
            await self._run(self.end, name)

    def _stop_timer(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _expire(self, name: str) -> None:
        self._stop_timer(name)
        task = asyncio.ensure_future(self._end(name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end(self, name: str) -> None:
        await self._run(self.end, name)


def _pages(
    connection: sa.Connection, query: ExportQuery, name: str, now_ms: int
) -> Generator[ExportPage, None, None]:
    month = query.month or month_of(now_ms)
    prices = read_prices(connection)
    closed = is_closed(connection, month)
    issuer = read_party(connection, "").name
    start_ms, end_ms = month_bounds_ms(month)
    charges = read_charges(connection, month, query.tenant, query.provider, now_ms)
    for number, (page, more) in enumerate(_with_more(_filled(charges))):
        yield ExportPage(
            export=name,
            page=number,
            month=month,
            start_ms=start_ms,
            end_ms=end_ms,
            closed=closed,
            issuer=issuer,
            charges=tuple(page),
            prices=named_prices(page, prices),
            more=more,
        )


def _at_once(pages: Iterable[ExportPage]) -> Generator[ExportPage, None, None]:
    yield from list(pages)


def _filled(charges: Iterable[Charge]) -> Iterator[list[Charge]]:
    """As many on a page as a message takes; at least one page."""
    page: list[Charge] = []
    size = 0
    for charge in charges:
        size += charge_size(charge) + 1
        if page and size > PAGE_CHARGES_BYTES:
            yield page
            page, size = [], charge_size(charge)
        page.append(charge)
    yield page


def _with_more(pages: Iterator[list[Charge]]) -> Iterator[tuple[list[Charge], bool]]:
    page = next(pages)
    for following in pages:
        yield page, True
        page = following
    yield page, False
