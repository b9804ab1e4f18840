"""What do facts, refusals, output and answers of any kind do to a reading client?

The follower of a job, the reader of output and the decoding of answers, given messages as a hostile
node or a broken service could send them. Nothing is raised in a handler; what is told is what was
asked for. It does not know terminals.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from fuzz.instant_mesh import ENDED, LIVE, NOW_MS, TENANT, InstantMesh, event_of
from fuzz.mutation import Given
from fuzz.runner import Violation
from penstock_bus.port import Message
from penstock_bus.subjects import matches
from penstock_client.failures import Refused, Unavailable
from penstock_client.following import JobFollower
from penstock_client.logs import LogReader
from penstock_client.questions import decode_answer
from penstock_client.submission import Confirmation
from penstock_contracts.errors import Refusal
from penstock_contracts.ids import ROOT
from penstock_contracts.journal import RefusedItem
from penstock_contracts.public import RequestRefusal
from penstock_contracts.queries import Answer
from penstock_contracts.registry import BY_NAME

encode = msgspec.json.encode
WORDS: Sequence[str | int] = (
    ENDED, LIVE, TENANT, "other", "queued", "running", "succeeded", "failed", "rejected", "stdout",
    "stderr", "0", "1", "6", 0, 1, 6, NOW_MS,
)  # fmt: skip


class Reading:
    """Subscribed readers of one job, each message given to those whose pattern covers it."""

    name = "client readers"
    messages = ("job_event", "job_log", "request_refused")
    words = WORDS
    pure = True

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._handlers: list[tuple[str, Callable[[Message], None]]] = []
        self.reset()

    def close(self) -> None:
        self._loop.close()

    def reset(self) -> None:
        self._loop.run_until_complete(self._open())

    async def _open(self) -> None:
        mesh: Any = InstantMesh()
        self.follower = JobFollower(mesh, TENANT, LIVE, fresh=True)
        self.logs = LogReader(mesh, TENANT, LIVE)
        self.answers = Confirmation(mesh, TENANT)
        self.answers.expect([LIVE])
        for reader in (self.follower, self.logs, self.answers):
            await reader.__aenter__()
        self._handlers = mesh.heard

    def digest(self) -> object:
        return None

    def valid(self) -> Sequence[Given]:
        facts = ("queued", "placed", "running", "succeeded", "failed", "rejected")
        item = RefusedItem(0, Refusal("invalid_field", "too big", "gpus"), LIVE)
        refusal = RequestRefusal(seq=8, index=0, tenant=TENANT, request_seq=5, refused=(item,))
        log = f"{ROOT}.log.{TENANT}.{LIVE}.1.0.stdout"
        return [
            *(
                Given(f"{ROOT}.job.{TENANT}.{LIVE}.{fact}", encode(event_of(TENANT, LIVE, fact, 9)))
                for fact in facts
            ),
            Given(f"{ROOT}.refusal.{TENANT}.5", encode(refusal)),
            Given(log, b"hello\n", (("Penstock-Offset", "0"),)),
            Given(log, b"more\xff\x00", (("Penstock-Offset", "6"),)),
        ]

    def give(self, given: Given) -> bool:
        return self._loop.run_until_complete(self._give(given))

    async def _give(self, given: Given) -> bool:
        message = Message(given.subject, given.payload, "", dict(given.headers) or None)
        heard = False
        for pattern, handler in self._handlers:
            if matches(pattern, given.subject):
                heard = True
                handler(message)
        for chunk in self.logs._take_live():
            if chunk.offset < 0 or not chunk.data:
                raise Violation(f"{chunk} is no output")
        return heard


class Answers:
    """What services answer: the value, or Refused or Unavailable."""

    name = "client answers"
    messages = ()
    words = WORDS
    pure = True

    def reset(self) -> None:
        """Nothing is remembered."""

    def digest(self) -> object:
        return None

    def valid(self) -> Sequence[Given]:
        from fuzz.instant_mesh import VALUES

        found = [Given(name, encode(Answer(value=value))) for name, value in VALUES.items()]
        refusal: Answer[Any] = Answer(refusal=Refusal("unknown_job", "no such job", "job_id"))
        return [*found, *(Given(name, encode(refusal)) for name in VALUES)]

    def give(self, given: Given) -> bool:
        kind = BY_NAME.get(given.subject)
        answer: Any = kind.answer if kind is not None else None
        if answer is None:
            return False
        try:
            decode_answer(given.payload, answer.__args__[0], "scheduler")
        except Refused:
            return False
        except Unavailable as error:
            if not str(error):
                raise Violation("an outage without a sentence") from error
            return False
        return True
