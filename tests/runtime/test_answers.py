"""What does a service do whose answer is too large, or whose broker dies while it subscribes?"""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from penstock_bus.memory_broker import MemoryBroker
from penstock_bus.port import Message
from penstock_contracts.queries import Answer, Empty
from penstock_runtime.answers import Answers
from penstock_runtime.outages import Stopping
from runtime.conftest import Connect

SUBJECTS = [f"penstock.v1.query.x.{what}" for what in ("one", "two", "three")]


async def test_an_answer_that_is_too_large_is_refused_by_name_and_the_service_lives(
    twin: Connect,
) -> None:
    service, asker = await twin("service"), await twin("asker")
    committed = False
    bugs: list[Exception] = []
    answers = Answers(service, is_committed=lambda: committed, on_bug=bugs.append)
    answers.answer("penstock.v1.query.x.all", lambda message: b"x" * 2_000_000)
    await answers.open(lambda: False)
    received: list[Message | Exception] = []
    for committed in (True, False):
        asker.request_nowait("penstock.v1.query.x.all", b"{}", received.append, timeout_s=5.0)
        while len(received) < 1 + (not committed):
            await service.kv_all("CURSORS")  # turns of the loop
            answers.answer_waiting()
    for message in received:
        assert isinstance(message, Message)
        refusal = msgspec.json.decode(message.payload, type=Answer[Empty]).refusal
        assert refusal is not None and refusal.code == "answer_too_large"
    assert answers.counters["answers_too_large"] == 2
    assert not bugs
    await answers.close()


@pytest.mark.parametrize("instant", ["at once", "when the first question is known"])
async def test_a_broker_that_dies_while_questions_are_subscribed_to_is_waited_for(
    twin: Connect, broker: MemoryBroker, instant: str
) -> None:
    service, asker = await twin("service"), await twin("asker")
    answers = Answers(service, is_committed=lambda: True, on_bug=_fail)
    asked: list[bytes] = []

    def handle(message: Message) -> bytes:
        asked.append(message.payload)
        return b"{}"

    for subject in SUBJECTS:
        answers.answer(subject, handle)
    opening = asyncio.ensure_future(answers.open(lambda: False))
    if instant != "at once":
        await service.kv_all("CURSORS")  # the first subscription was sent before it
    broker.crash()
    await asyncio.sleep(0)
    broker.start()
    await opening
    for subject in SUBJECTS:
        await asker.request(subject, b"", timeout_s=5.0)
    assert len(asked) == len(SUBJECTS), "each is answered, and by one subscription"
    await answers.close()


async def test_who_is_told_to_stop_does_not_wait_for_a_dead_broker(
    twin: Connect, broker: MemoryBroker
) -> None:
    answers = Answers(await twin("service"), is_committed=lambda: True, on_bug=_fail)
    answers.answer(SUBJECTS[0], lambda message: b"{}")
    broker.crash()
    with pytest.raises(Stopping):
        await answers.open(lambda: True)


def _fail(bug: Exception) -> None:
    raise AssertionError(bug)
