"""What does a service do whose answer is larger than the broker takes?"""

from __future__ import annotations

import msgspec

from penstock_bus.port import Message
from penstock_contracts.queries import Answer, Empty
from penstock_runtime.answers import Answers
from runtime.conftest import Connect


async def test_an_answer_that_is_too_large_is_refused_by_name_and_the_service_lives(
    twin: Connect,
) -> None:
    service, asker = await twin("service"), await twin("asker")
    committed = False
    bugs: list[Exception] = []
    answers = Answers(service, is_committed=lambda: committed, on_bug=bugs.append)
    answers.answer("penstock.v1.query.x.all", lambda message: b"x" * 2_000_000)
    await answers.open()
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
