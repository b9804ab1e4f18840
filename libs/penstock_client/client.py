"""What can a program do with the mesh?

One connection and a method per wish: submit, follow, read output, cancel, ask, command nodes,
check. It does not know terminals, files or exit codes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType

import msgspec

from penstock_bus.port import Bus, BusRefusal, Outage
from penstock_client.address import resolve, trust_of
from penstock_client.failures import Unavailable, refuse, refused
from penstock_client.following import JobFollower, Position
from penstock_client.logs import PATIENCE_S, LogReader
from penstock_client.subjects import ANY, check_job_id, subject_of
from penstock_client.submission import (
    CONFIRM_S,
    Confirmation,
    StoredRequest,
    Submitted,
    checked,
    packed,
    store,
)
from penstock_client.views import Views
from penstock_contracts.jobs import TERMINAL, CancelJob, JobSpec
from penstock_contracts.public import JobEvent

CONNECT_TIMEOUT_S = 5.0
CANCEL_LOOK_S = 0.05


class Client(Views):
    """A user's view of the mesh over one bus. Made by `connect`, or around a bus of one's own."""

    def __init__(self, bus: Bus, closed: asyncio.Event | None = None) -> None:
        self.bus = bus
        self.closed = closed or asyncio.Event()
        """Set when the broker has closed the connection for good: the credential has expired."""
        self._readers: weakref.WeakSet[JobFollower | LogReader] = weakref.WeakSet()
        bus.on_reconnect(self._reconnected)

    @classmethod
    async def connect(
        cls,
        url: str | None = None,
        creds: str | None = None,
        *,
        name: str = "penstock-client",
        timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> Client:
        """Connects as `address.resolve` says. Raises Unavailable; Refused for a bad credential."""
        address = resolve(url, creds)
        closed = asyncio.Event()
        from penstock_bus.nats import connect

        try:
            bus = await connect(
                address.url,
                name=name,
                credentials=address.creds,
                tls=trust_of(address),
                connect_timeout_s=timeout_s,
                on_closed=lambda _: closed.set(),
            )
        except Outage as error:
            raise Unavailable(f"no mesh at {address.url} (from {address.source})") from error
        except BusRefusal as error:
            raise refuse(
                "unauthorized", f"{address.url} does not accept this credential"
            ) from error
        except (OSError, ValueError) as error:
            raise refuse("unauthorized", f"cannot use {address.creds}: {error}") from error
        return cls(bus, closed)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self.bus.close()

    async def _reconnected(self) -> None:
        for reader in list(self._readers):
            reader.reconnected()

    # -- jobs -------------------------------------------------------------------------------------
    async def submit(
        self, specs: Sequence[JobSpec], tenant: str, *, confirm_s: float = CONFIRM_S
    ) -> Submitted:
        """Stores the jobs durably and waits up to `confirm_s` for the scheduler's word on each.

        Raises Refused when a job breaks a rule by itself (then nothing was sent), and Unavailable.
        """
        messages = packed(specs, tenant)
        async with Confirmation(self.bus, tenant) as confirmation:
            requests = []
            for payload, job_ids in messages:
                confirmation.expect(job_ids)
                seq = await store(self.bus, tenant, "submit", payload)
                requests.append(StoredRequest(seq, job_ids))
            return await confirmation.outcome(requests, confirm_s)

    async def cancel(self, job_id: str, tenant: str, *, reason: str = "") -> int:
        """Stores the wish that the job end; returns the request's sequence."""
        wish = checked(CancelJob(check_job_id(job_id), reason))
        return await store(self.bus, tenant, "cancel", msgspec.json.encode(wish))

    async def cancel_and_watch(
        self, job_id: str, tenant: str, *, timeout_s: float, reason: str = ""
    ) -> JobEvent | None:
        """Cancels, and waits that long for the job's end. None: asked, and not ended yet.

        Raises Refused when the scheduler refuses (the job is unknown or has ended).
        """
        last = await self.last_event(job_id, tenant)
        if last is not None and last.fact in TERMINAL:
            raise refuse("job_finished", f"job {job_id} has {last.fact.replace('_', ' ')} already")
        async with (
            Confirmation(self.bus, tenant) as answers,
            self.follower(job_id, tenant) as follower,
        ):
            seq = await self.cancel(job_id, tenant, reason=reason)
            ended = asyncio.ensure_future(_end_of(follower))
            deadline = asyncio.get_running_loop().time() + timeout_s
            try:
                while not ended.done() and asyncio.get_running_loop().time() < deadline:
                    await asyncio.wait({ended}, timeout=CANCEL_LOOK_S)
                    if refusal := answers.refusal_of(seq):
                        raise refused(refusal.refused[0].refusal)
                return ended.result() if ended.done() else None
            finally:
                ended.cancel()
                await asyncio.gather(ended, return_exceptions=True)

    @asynccontextmanager
    async def follower(
        self, job_id: str, tenant: str, *, after: Position = (0, 0), fresh: bool = False
    ) -> AsyncIterator[JobFollower]:
        """Follows a job's facts; subscribed while the block lasts."""
        follower = JobFollower(self.bus, tenant, check_job_id(job_id), after=after, fresh=fresh)
        self._readers.add(follower)
        async with follower:
            yield follower

    async def follow(
        self, job_id: str, tenant: str, *, after: Position = (0, 0)
    ) -> AsyncIterator[JobEvent]:
        """Every fact of the job once, in order, to its end."""
        async with self.follower(job_id, tenant, after=after) as follower:
            async for event in follower.events():
                yield event

    @asynccontextmanager
    async def log_reader(
        self,
        job_id: str,
        tenant: str,
        *,
        rank: int | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
    ) -> AsyncIterator[LogReader]:
        """Reads a job's output; subscribed while the block lasts."""
        reader = LogReader(
            self.bus,
            tenant,
            check_job_id(job_id),
            rank=rank,
            since_ns=since_ns,
            until_ns=until_ns,
        )
        self._readers.add(reader)
        async with reader:
            yield reader

    async def end_output(self, reader: LogReader, job_id: str, tenant: str, *, wait: bool) -> bool:
        """Tells the reader how much output there is, once the job has ended.

        False: it has not, and `wait` did not ask to wait for it. Output of a job that ended long
        ago is not awaited.
        """
        last = await self.last_event(job_id, tenant)
        if wait and (last is None or last.fact not in TERMINAL):
            async for event in self.follow(job_id, tenant):
                last = event
        if last is None or last.fact not in TERMINAL:
            return False
        age_s = time.time_ns() / 1e9 - last.at_ms / 1000
        reader.end(last.log_bytes, min(PATIENCE_S, max(0.0, PATIENCE_S - age_s)))
        return True

    async def tenant_of(self, job_id: str) -> str:
        """Whose job it is: by its first fact, else the services. Raises NotFound, Unavailable."""
        subject = subject_of("job_event", tenant=ANY, job_id=check_job_id(job_id), fact=ANY)
        with contextlib.suppress(Outage, BusRefusal):
            if stored := await self.bus.read_next("FACTS", 1, subject):
                return stored.subject.split(".")[-3]
        return (await self.job(job_id)).tenant

    async def last_event(self, job_id: str, tenant: str) -> JobEvent | None:
        """The newest stored fact of the job."""
        subject = subject_of("job_event", tenant=tenant, job_id=job_id, fact=ANY)
        try:
            stored = await self.bus.read_last("FACTS", subject)
        except (Outage, BusRefusal) as error:
            raise Unavailable(f"the stream of facts cannot be read: {error}") from error
        return None if stored is None else msgspec.json.decode(stored.payload, type=JobEvent)


async def _end_of(follower: JobFollower) -> JobEvent | None:
    last = None
    async for event in follower.events():
        last = event
    return last
