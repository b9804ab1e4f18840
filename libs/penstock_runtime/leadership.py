"""Which of several instances of a service works now?

A lock in a key-value bucket, refreshed by its holder; others wait until it is released, has not
moved for a while by their own monotonic clock, or its holder's process is provably gone. It serves
liveness only: that two never both commit is the doing of a fence in what they write. Any service
may use it by itself:

    lock = Leadership(bus, service="metering", us=this_process(writer), clock=clock)
    if await lock.acquire(lambda: stop.requested):
        holding = asyncio.create_task(lock.hold())  # returns the rival's name when the lock is lost
        ...  # open a term, work
        await lock.release()  # the next one begins at once
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from penstock_bus.port import Bus, BusRefusal, Outage, WrongRevision
from penstock_contracts.errors import MALFORMED
from penstock_runtime.clock import Clock
from penstock_runtime.entries import encode_json
from penstock_runtime.pace import POLL_S, REFRESH_S, SILENCE_S

log = logging.getLogger(__name__)

BUCKET = "LOCKS"


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """The value of a lock. `host` names boot and process namespace; `pid` is valid within it."""

    writer: str
    host: str
    pid: int
    pid_start: int
    released: bool = False


_decode_holder = msgspec.json.Decoder(Holder).decode


def this_process(writer: str) -> Holder:
    """Who we are, to others who share this host's boot and process namespace."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    start = start_of_process(os.getpid())
    return Holder(
        writer=writer,
        host=f"{boot_id}/{os.readlink('/proc/self/ns/pid')}",
        pid=os.getpid(),
        pid_start=start if start is not None else 0,
    )


def is_gone(holder: Holder, us: Holder) -> bool:
    """Whether the holder's process certainly does not run: only seen from its own host."""
    return holder.host == us.host and start_of_process(holder.pid) != holder.pid_start


def start_of_process(pid: int) -> int | None:
    """The start time of a live process in clock ticks since boot (proc(5), field 22)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


class Leadership:
    """One service's lock as one instance sees it."""

    def __init__(
        self,
        bus: Bus,
        *,
        service: str,
        us: Holder,
        clock: Clock,
        silence_s: float = SILENCE_S,
        refresh_s: float = REFRESH_S,
        poll_s: float = POLL_S,
    ) -> None:
        """`silence_s` should be three times the holder's `refresh_s`, and longer than its loop
        ever stands still."""
        self.holder: Holder | None = None
        self.refusal: str | None = None
        """Why the broker will not show us the lock, or not let us have it."""
        self._bus = bus
        self._key = service
        self._us = us
        self._clock = clock
        self._silence_ns = int(silence_s * 1e9)
        self._refresh_s = refresh_s
        self._poll_s = poll_s
        self._revision = 0
        self._releasing = False

    async def acquire(self, stopping: Callable[[], bool]) -> bool:
        """Wait until the lock is ours; False when asked to stop before.

        Silence counts only while the broker answers us: a holder cannot refresh through an outage
        either, and need not be replaced after one."""
        seen_revision = -1
        seen_since_ns = 0
        while not stopping():
            try:
                found = await self._bus.kv_get(BUCKET, self._key)
                self.refusal = None
                revision = 0 if found is None else found.revision
                now_ns = self._clock.monotonic_ns()
                if revision != seen_revision:
                    seen_revision, seen_since_ns = revision, now_ns
                silent = now_ns - seen_since_ns >= self._silence_ns
                self.holder = None if found is None else _read_holder(found.value)
                if silent or self._is_free():
                    self._revision = await self._put(self._us, revision)
                    self.holder = self._us
                    return True
            except WrongRevision:
                pass  # a rival was faster, or its refresh was
            except Outage:
                seen_revision = -1
            except BusRefusal as error:  # there is no such bucket yet, or no room on its disk
                seen_revision = -1
                self.refusal = str(error)
            await asyncio.sleep(self._poll_s)
        return False

    def _is_free(self) -> bool:
        holder = self.holder
        return (
            holder is None
            or holder.released
            or holder.writer == self._us.writer
            or is_gone(holder, self._us)
        )

    def why_waiting(self) -> str:
        """For whoever asks why this instance does nothing."""
        if self.refusal is not None:
            return f"the broker refuses the lock: {self.refusal}"
        return f"{self.holder.writer if self.holder else 'nobody yet'} leads"

    async def hold(self) -> str:
        """Refresh until somebody else has the lock; returns who. Outages are waited out."""
        while True:
            await asyncio.sleep(self._refresh_s)
            if self._releasing:
                continue
            try:
                self._revision = await self._put(self._us, self._revision)
            except (Outage, BusRefusal):
                continue
            except WrongRevision:
                rival = await self._rival()
                if rival is not None:
                    return rival

    async def _rival(self) -> str | None:
        """Who has the lock, None when we do (a refresh landed whose answer was lost)."""
        try:
            found = await self._bus.kv_get(BUCKET, self._key)
        except (Outage, BusRefusal):
            return None
        if found is None:
            self._revision = 0
            return None
        self.holder = _read_holder(found.value)
        if self.holder is not None and self.holder.writer == self._us.writer:
            self._revision = found.revision
            return None
        return "somebody unknown" if self.holder is None else self.holder.writer

    async def release(self) -> None:
        """Let the next one start at once, when the lock is still ours. Nothing is refreshed from
        now on."""
        self._releasing = True
        released = msgspec.structs.replace(self._us, released=True)
        try:
            try:
                await self._put(released, self._revision)
            except WrongRevision:  # a refresh on its way got there before
                if await self._rival() is None:
                    await self._put(released, self._revision)
        except (Outage, BusRefusal, WrongRevision) as error:
            log.info("lock %s is not released: %s", self._key, error)

    async def _put(self, holder: Holder, revision: int) -> int:
        return await self._bus.kv_put(
            BUCKET, self._key, encode_json(holder), expected_revision=revision
        )


def _read_holder(value: bytes) -> Holder | None:
    """None counts as free: rubbish in a lock must not keep a service from starting."""
    try:
        return _decode_holder(value)
    except MALFORMED as error:
        log.error("undecodable lock: %s", error)
        return None
