"""What does metering answer when asked?

One handler per query and command of the registry. Answers speak of committed rows only. It does not
know how they are computed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
import sqlalchemy as sa

from penstock_bus.port import Bus, BusRefusal, Message, Outage, Subscription
from penstock_contracts.errors import MALFORMED, Refusal
from penstock_contracts.exports import ExportQuery
from penstock_contracts.ids import ROOT
from penstock_contracts.queries import (
    Answer,
    JobQuery,
    JobsQuery,
    MeteringAuditQuery,
    UsageQuery,
)
from penstock_metering.audit import Auditor
from penstock_metering.commands import Commands
from penstock_metering.deriving import Deriver
from penstock_metering.exports.pages import Exports
from penstock_metering.ledger.fence import Superseded
from penstock_metering.ledger.ingest import DatabaseBusy
from penstock_metering.money_questions import MONEY_QUESTIONS, LookUp
from penstock_metering.progress import Progress
from penstock_metering.reading import Library
from penstock_metering.threads import Run
from penstock_runtime.clock import Clock
from penstock_runtime.outages import until_answered

log = logging.getLogger(__name__)

QUERIES_AT_ONCE_MAX = 64
SETTLE_S_MAX = 1.0
DERIVE_S_MAX = 4.0
_MS_MAX = 1 << 62
_encode = msgspec.json.Encoder().encode

Handler = Callable[[Any], Awaitable[Any]]


class Answers:
    """Subscribes to queries and commands and answers them; each runs as a task, bounded in number.
    No queue group: one that is frozen would swallow its share of the questions."""

    def __init__(
        self,
        bus: Bus,
        library: Library,
        auditor: Auditor,
        run: Run,
        progress: Progress,
        commands: Commands,
        exports: Exports,
        clock: Clock,
        deriver: Deriver,
    ) -> None:
        self._bus = bus
        self._deriver = deriver
        self._clock = clock
        self._exports = exports
        self._run = run
        self._library = library
        self._progress = progress
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._subscriptions: list[Subscription] = []
        self._handlers: dict[str, tuple[type, Handler]] = {
            "query.metering.job": (JobQuery, self._job),
            "query.metering.jobs": (JobsQuery, partial(self._read, library.jobs)),
            "query.metering.usage": (UsageQuery, self._usage),
            "query.metering.audit": (MeteringAuditQuery, auditor.audit),
            "query.metering.export": (ExportQuery, self._export),
        }
        for what, asked in MONEY_QUESTIONS.items():
            look_up = partial(self._money, asked.look_up)
            self._handlers[f"query.metering.{what}"] = (asked.payload, look_up)
        for what, command in commands.known.items():
            obey = partial(commands.obey, what)
            self._handlers[f"command.metering.{what}"] = (command.payload, obey)

    async def open(self, stopping: Callable[[], bool]) -> None:
        """Be asked from now on, once the broker hears of it. Raises Stopping."""
        for name, (question, handler) in self._handlers.items():
            decode: Callable[[bytes], Any] = msgspec.json.Decoder(question).decode
            subject = f"{ROOT}.{name}"
            take = partial(self._take, decode, handler)
            subscribe = partial(self._bus.subscribe, subject, take)
            self._subscriptions.append(await until_answered(subscribe, stopping))

    async def close(self) -> None:
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            with suppress(Outage):  # a lost connection has ended it already
                await subscription.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._exports.close()

    def _take(self, decode: Callable[[bytes], Any], handler: Handler, message: Message) -> None:
        if len(self._tasks) >= QUERIES_AT_ONCE_MAX:
            busy = Refusal("unavailable", "metering answers too many questions now; ask again")
            self._bus.respond_nowait(message, _encode(Answer(refusal=busy)))
            return
        task = asyncio.ensure_future(self._answer(decode, handler, message))
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)

    async def _answer(
        self, decode: Callable[[bytes], Any], handler: Handler, message: Message
    ) -> None:
        try:
            value = await handler(decode(message.payload or b"{}"))
        except msgspec.ValidationError as error:
            value = Refusal("invalid_field", str(error))
        except MALFORMED as error:
            value = Refusal("malformed_json", str(error))
        except sa.exc.DBAPIError as error:
            log.error("a question could not be answered: %s", error)
            value = Refusal("unavailable", "the ledger cannot be read now; ask again")
        answer = Answer(refusal=value) if isinstance(value, Refusal) else Answer(value=value)
        try:
            self._bus.respond_nowait(message, _encode(answer))
        except BusRefusal as error:
            log.error("an answer is not sent: %s", error)
            large = Refusal("answer_too_large", "the answer is too large; ask for less")
            self._bus.respond_nowait(message, _encode(Answer(refusal=large)))

    async def _job(self, query: JobQuery) -> Any:
        view = await self._read(self._library.job, query.job_id)
        return view or Refusal("unknown_job", f"no job {query.job_id[:64]} in history")

    async def _usage(self, query: UsageQuery) -> Any:
        bounds = [bound for bound in (query.from_ms, query.to_ms) if bound is not None]
        if any(abs(bound) > _MS_MAX for bound in bounds):
            return Refusal("invalid_field", "a time in Unix ms is out of range", "from_ms")
        return await self._read(self._library.usage, query)

    async def _money(self, look_up: LookUp, question: Any) -> Any:
        now_ms = self._clock.now_ns() // 1_000_000
        return await self._read(partial(self._library.look_up, look_up, now_ms), question)

    async def _export(self, query: ExportQuery) -> Any:
        if query.export:
            return await self._exports.later(query)
        await self._settle()
        return await self._exports.first(self._clock.now_ns() // 1_000_000, query)

    async def _read(self, look_up: Callable[[Any], Any], query: Any) -> Any:
        await self._settle()
        return await self._run(look_up, query)

    async def _settle(self) -> None:
        """Return once the ledger holds what had arrived when the question came, and what follows
        from it, unless it is busy."""
        try:
            async with asyncio.timeout(SETTLE_S_MAX):
                await self._progress.settle()
            async with asyncio.timeout(DERIVE_S_MAX):
                await self._deriver.catch_up()
        except (TimeoutError, DatabaseBusy, Superseded):
            log.warning("answering from a ledger that is behind")
