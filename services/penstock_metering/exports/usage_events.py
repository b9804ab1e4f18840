"""How does the use that the ledger has taken leave the mesh, each segment once and in order?

A follower of the ledger's own order publishes one event a segment to METERED. Where it stands is
read from the last event that the broker has, and each event names the sequence it follows: so a
crash, a lost acknowledgement or two that publish neither repeat nor leave out. Where all events
have aged out, a cursor says how far it was. A broker that has lost the stream gets all that the
ledger has again, under the same ids. It writes nothing into the ledger, and does not know what use
costs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import msgspec
import sqlalchemy as sa

from penstock_bus.port import Appended, Bus, BusRefusal, Outage
from penstock_contracts.cursors import BUCKET, Cursor, cursor_key
from penstock_contracts.metered import MeteredUse
from penstock_metering.core.usage_events import Event, LeaseOf, Place, SegmentLine, tell
from penstock_metering.ledger import schema
from penstock_metering.ledger.database import Database
from penstock_metering.threads import Run
from penstock_runtime.metrics import Metric

log = logging.getLogger(__name__)

STREAM = "METERED"
JOBS = "JOBS"
LOOK_S = 1.0
RETRY_S = 2.0
KEEP_S = 5.0
BATCHES_AT_ONCE = 64
EVENTS_IN_FLIGHT_MAX = 256
STORED_S_MAX = 5.0

_batches, _lines, _leases = schema.usage_batches, schema.ledger_lines, schema.leases
_models, _cursors = schema.device_models, schema.cursors
_KEY = cursor_key(STREAM, "batches")
_decode = msgspec.json.Decoder(MeteredUse).decode
_decode_cursor = msgspec.json.Decoder(Cursor).decode


class Found(msgspec.Struct, frozen=True):
    """`lines` of the batches up to `last_batch`; 0 = there are none yet."""

    lines: list[SegmentLine]
    last_batch: int
    jobs_seq: int


class _Missed(Exception):
    """The stream does not stand where we thought."""


class UsageEvents:
    """Runs until cancelled, beside the ledger's writer."""

    def __init__(self, bus: Bus, database: Database, read: Run) -> None:
        self.published = 0
        self.retries = 0
        self._bus = bus
        self._engine = database.reading
        self._read = read
        self._next_keep_s = 0.0

    async def run(self) -> None:
        while True:
            try:
                await self._follow()
            except (Outage, BusRefusal, _Missed, sa.exc.DBAPIError) as error:
                self.retries += 1
                log.warning("events of use wait: %s", error)
                await asyncio.sleep(RETRY_S)

    def metrics(self) -> Iterator[Metric]:
        for name, description, value in (
            ("published", "Events of use the broker has stored.", self.published),
            ("retries", "Times that publishing began again behind the last event.", self.retries),
        ):
            yield Metric(f"penstock_usage_events_{name}", "counter", description, value)

    async def _follow(self) -> None:
        state = await self._bus.stream_state(STREAM)
        place, seq = await self._last_told(state.last_seq), state.last_seq
        while True:
            found = await self._read(self._look, place)
            if not found.last_batch:
                await asyncio.sleep(LOOK_S)
                continue
            jobs_end = (await self._bus.stream_state(JOBS)).last_seq if found.lines else 0
            told = tell(found.lines, place, found.last_batch, found.jobs_seq, jobs_end)
            for start in range(0, len(told.events), EVENTS_IN_FLIGHT_MAX):
                seq = await self._publish(told.events[start : start + EVENTS_IN_FLIGHT_MAX], seq)
            place = told.next_place
            await self._keep(place)
            if told.is_held:
                await asyncio.sleep(LOOK_S)

    async def _last_told(self, last_seq: int) -> Place:
        if not last_seq:
            return Place()
        last = await self._bus.read_last(STREAM, _WILDCARD)
        if last is None:
            kept = await self._bus.kv_get(BUCKET, _KEY)
            return Place(_decode_cursor(kept.value).seq) if kept is not None else Place()
        if last.seq != last_seq:
            raise _Missed(f"{STREAM} {last_seq} cannot be read yet")
        use = _decode(last.payload)
        return Place(use.batch, use.index)

    async def _keep(self, place: Place) -> None:
        """Now and then, how far all is told."""
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._next_keep_s:
            self._next_keep_s = now_s + KEEP_S
            await self._bus.kv_put(BUCKET, _KEY, msgspec.json.encode(Cursor(place.batch)))

    def _look(self, after: Place) -> Found:
        """The next batches, from the one that was told last on."""
        with self._engine.begin() as connection:
            numbers = connection.execute(
                sa.select(_batches.c.number)
                .where(_batches.c.number >= after.batch)
                .order_by(_batches.c.number)
                .limit(BATCHES_AT_ONCE)
            ).scalars()
            last = max(numbers, default=0)
            cursor = sa.select(_cursors.c.seq).where(_cursors.c.stream == JOBS)
            jobs_seq = connection.execute(cursor).scalar() or 0
            rows = connection.execute(_LINES, {"first": after.batch, "last": last})
            return Found([_line(row) for row in rows], last, jobs_seq)

    async def _publish(self, told: list[Event], seq: int) -> int:
        """All of them behind `seq`; returns the stream's new end."""
        stored = await asyncio.gather(
            *(self._append(event, after) for after, event in enumerate(told, seq))
        )
        for expected, result in enumerate(stored, seq + 1):
            if not isinstance(result, Appended):
                raise _Missed(str(result)) from result
            if result.seq != expected:
                raise _Missed(f"an event is at {result.seq} of {STREAM}, not at {expected}")
            self.published += 1
        return seq + len(told)

    def _append(self, event: Event, after_seq: int) -> asyncio.Future[Appended | Exception]:
        stored: asyncio.Future[Appended | Exception] = asyncio.get_running_loop().create_future()

        def on_done(result: Appended | Exception) -> None:
            if not stored.done():
                stored.set_result(result)

        self._bus.append_nowait(
            event.subject,
            event.data,
            on_done,
            expected_last_seq=after_seq,
            message_id=event.id,
            headers=event.headers,
            timeout_s=STORED_S_MAX,
        )
        return stored


_WILDCARD = "penstock.v1.metered.*.usage"
_LINES = (
    sa.select(
        _lines,
        _batches.c.node,
        _models.c.model,
        _leases.c.tenant,
        _leases.c.project,
        _leases.c.tier,
        _leases.c.site,
        _leases.c.node.label("lease_node"),
        _leases.c.attempt,
    )
    .join(_batches, _batches.c.number == _lines.c.batch_number)
    .outerjoin(
        _leases,
        sa.and_(
            _leases.c.lease_seq == _lines.c.lease_seq,
            _leases.c.job_id == _lines.c.job_id,
            _leases.c.rank == _lines.c.rank,
        ),
    )
    .outerjoin(
        _models,
        sa.and_(_models.c.node == _batches.c.node, _models.c.uuid == _lines.c.device),
    )
    .where(_lines.c.batch_number.between(sa.bindparam("first"), sa.bindparam("last")))
    .order_by(
        _lines.c.batch_number,
        _lines.c.lease_seq,
        _lines.c.job_id,
        _lines.c.rank,
        _lines.c.seq,
        _lines.c.device,
    )
)


def _line(row: sa.Row[tuple[object, ...]]) -> SegmentLine:
    lease = None
    if row.tenant is not None:
        lease = LeaseOf(row.tenant, row.project, row.tier, row.site, row.lease_node, row.attempt)
    return SegmentLine(
        batch=row.batch_number,
        lease_seq=row.lease_seq,
        job_id=row.job_id,
        rank=row.rank,
        seq=row.seq,
        device=row.device,
        milli=row.milli,
        t0_ms=row.t0_ms,
        t1_ms=row.t1_ms,
        energy_mj=row.energy_mj,
        used_milli_ms=row.used_milli_ms,
        node=row.node,
        model=row.model or "",
        lease=lease,
    )
