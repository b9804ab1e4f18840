"""How is the ledger told to change something?

Each command runs on the writer's thread in one transaction of whoever may write, together with the
note that its key was used: so a repeat is answered as the first one was, and changes nothing. What
is refused is not noted. It does not know what commands do.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
import sqlalchemy as sa

from penstock_contracts.errors import Refusal
from penstock_contracts.ids import is_ulid
from penstock_metering.ledger import schema
from penstock_metering.ledger.fence import Superseded
from penstock_metering.ledger.ingest import DatabaseBusy, Ingest
from penstock_metering.threads import Run
from penstock_runtime.clock import Clock

BUSY_RETRIES = 5
BUSY_RETRY_S = 0.5
KEPT_MS = 90 * 24 * 3_600_000
"""How long a key is remembered: no asker repeats for so long."""

_encode = msgspec.json.Encoder().encode


def _nobody() -> None:
    """Hears nothing."""


_done = schema.commands_done


class Keyed(Protocol):
    """What every command has."""

    @property
    def key(self) -> str: ...


Apply = Callable[[sa.Connection, Any, int], Any]
"""(connection, command, now_ms) → what is answered, or a Refusal: then nothing is changed."""


class Command(msgspec.Struct, frozen=True):
    payload: type
    apply: Apply


class _Refused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class Commands:
    """`ingest` is set while this instance writes the ledger; `on_done` hears of each commit."""

    def __init__(self, write: Run, clock: Clock, known: Mapping[str, Command]) -> None:
        self.ingest: Ingest | None = None
        self.on_done: Callable[[], None] = _nobody
        self.known = known
        self._write = write
        self._clock = clock

    async def obey(self, what: str, command: Keyed) -> Any:
        """Answers once it is committed."""
        if not is_ulid(command.key):
            return Refusal("invalid_field", "the key is not a ULID", "key")
        for _ in range(BUSY_RETRIES):
            if self.ingest is None:
                break
            try:
                answer = await self._write(self._run, self.ingest, what, command)
                self.on_done()
                return answer
            except _Refused as error:
                return error.refusal
            except Superseded:
                break  # the reader of the streams finds out too, and ends the process
            except DatabaseBusy:
                await asyncio.sleep(BUSY_RETRY_S)
        return Refusal("unavailable", "the ledger cannot be written now; ask again")

    def _run(self, ingest: Ingest, what: str, command: Keyed) -> Any:
        now_ms = self._clock.now_ns() // 1_000_000
        return ingest.change(lambda connection: self._once(connection, what, command, now_ms))

    def _once(self, connection: sa.Connection, what: str, command: Keyed, now_ms: int) -> Any:
        digest = hashlib.sha256(what.encode() + b" " + _encode(command)).hexdigest()
        row = connection.execute(
            sa.select(_done.c.digest, _done.c.answer).where(_done.c.key == command.key)
        ).one_or_none()
        if row is not None:
            if row.digest != digest:
                raise _Refused(Refusal("key_used", "the key was used for something else", "key"))
            return msgspec.Raw(row.answer.encode())
        answer = self.known[what].apply(connection, command, now_ms)
        if isinstance(answer, Refusal):
            raise _Refused(answer)
        connection.execute(sa.delete(_done).where(_done.c.at_ms < now_ms - KEPT_MS))
        noted = {"key": command.key, "digest": digest, "at_ms": now_ms}
        connection.execute(sa.insert(_done).values(**noted, answer=_encode(answer).decode()))
        return answer
