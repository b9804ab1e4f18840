"""Do both adapters publish, subscribe, ask and answer alike?"""

from __future__ import annotations

import asyncio

import pytest

from bus.conftest import World
from conftest import Eventually
from penstock_bus.port import Bus, Message, NoResponders, Outage


async def test_a_published_message_reaches_every_subscriber_with_its_headers(
    world: World, bus: Bus, eventually: Eventually
) -> None:
    other = await world.connect()
    here: list[Message] = []
    there: list[Message] = []
    await bus.subscribe("fact.*.done", here.append)
    await other.subscribe("fact.>", there.append)

    await bus.publish("fact.a.done", b"1", {"Kind": "x y"})
    bus.publish_nowait("fact.b.done", b"2")
    bus.publish_nowait("other.b.done", b"3")
    await eventually(lambda: len(here) == 2 and len(there) == 2)

    first, second = here
    assert (first.subject, first.payload, first.reply) == ("fact.a.done", b"1", "")
    assert first.headers is not None and first.headers["Kind"] == "x y"
    assert (second.subject, second.payload) == ("fact.b.done", b"2")
    assert [m.payload for m in there] == [b"1", b"2"]


async def test_messages_of_one_client_arrive_in_the_order_sent(
    world: World, bus: Bus, eventually: Eventually
) -> None:
    got: list[int] = []
    other = await world.connect()
    await other.subscribe("n", lambda m: got.append(int(m.payload)))
    for n in range(2_000):
        if n % 2:
            bus.publish_nowait("n", b"%d" % n)
        else:
            await bus.publish("n", b"%d" % n)
    await eventually(lambda: len(got) == 2_000)
    assert got == list(range(2_000))


async def test_a_subscription_is_known_to_the_broker_when_subscribe_returns(
    world: World, bus: Bus
) -> None:
    other = await world.connect()
    for n in range(20):
        subject = f"ask.{n}"
        await other.subscribe(subject, lambda m: other.respond_nowait(m, b"yes"))
        assert (await bus.request(subject, b"", timeout_s=2.0)).payload == b"yes"


async def test_one_member_of_a_queue_group_gets_each_message(
    world: World, bus: Bus, eventually: Eventually
) -> None:
    other = await world.connect()
    got: list[tuple[str, bytes]] = []
    await bus.subscribe("work", lambda m: got.append(("a", m.payload)), queue="q")
    await other.subscribe("work", lambda m: got.append(("b", m.payload)), queue="q")
    for n in range(100):
        bus.publish_nowait("work", b"%d" % n)
    await eventually(lambda: len(got) >= 100)
    assert sorted(int(p) for _, p in got) == list(range(100))
    assert {who for who, _ in got} == {"a", "b"}


async def test_a_closed_subscription_hears_nothing_more(bus: Bus, eventually: Eventually) -> None:
    got: list[bytes] = []
    subscription = await bus.subscribe("s", lambda m: got.append(m.payload))
    await bus.publish("s", b"1")
    await eventually(lambda: got == [b"1"])
    await subscription.close()
    await bus.publish("s", b"2")
    with pytest.raises(NoResponders):
        await bus.request("s", b"3", timeout_s=2.0)
    assert got == [b"1"]


async def test_a_handler_that_raises_is_counted_and_the_subscription_lives_on(
    bus: Bus, eventually: Eventually
) -> None:
    got: list[bytes] = []

    def handle(message: Message) -> None:
        if message.payload == b"bad":
            raise RuntimeError("a bug in a handler")
        got.append(message.payload)

    await bus.subscribe("s", handle)
    await bus.publish("s", b"bad")
    await bus.publish("s", b"good")
    await eventually(lambda: got == [b"good"])
    assert bus.counters["handler_failures"] == 1


async def test_requests_in_parallel_each_get_their_own_answer(world: World, bus: Bus) -> None:
    other = await world.connect()
    await other.subscribe("double", lambda m: other.respond_nowait(m, m.payload * 2))
    answers = await asyncio.gather(
        *(bus.request("double", b"%d" % n, timeout_s=5.0) for n in range(100))
    )
    assert [a.payload for a in answers] == [b"%d" % n * 2 for n in range(100)]


async def test_request_nowait_calls_back_once_with_the_answer_or_the_error(
    world: World, bus: Bus, eventually: Eventually
) -> None:
    other = await world.connect()
    await other.subscribe("echo", lambda m: other.respond_nowait(m, m.payload))
    await other.subscribe("silent", lambda m: None)
    results: list[Message | Exception] = []
    bus.request_nowait("echo", b"x", results.append, timeout_s=2.0)
    assert results == []  # never before it returns
    await eventually(lambda: len(results) == 1)
    bus.request_nowait("nobody", b"x", results.append, timeout_s=2.0)
    await eventually(lambda: len(results) == 2)
    bus.request_nowait("silent", b"x", results.append, timeout_s=0.1)
    await eventually(lambda: len(results) == 3)
    answer, nobody, late = results
    assert isinstance(answer, Message) and answer.payload == b"x"
    assert isinstance(nobody, NoResponders)
    assert isinstance(late, Outage) and not isinstance(late, NoResponders)


async def test_a_request_without_answer_is_an_outage_in_time(world: World, bus: Bus) -> None:
    other = await world.connect()
    await other.subscribe("silent", lambda m: None)
    started = asyncio.get_running_loop().time()
    with pytest.raises(Outage):
        await bus.request("silent", b"", timeout_s=0.2)
    assert 0.15 < asyncio.get_running_loop().time() - started < 2.0


async def test_respond_drops_and_counts_replies_that_are_not_inboxes(
    world: World, bus: Bus, eventually: Eventually
) -> None:
    forged: list[Message] = []
    answered: list[Message] = []
    await bus.subscribe("journal.jobs", forged.append)
    await bus.subscribe("_INBOX_node.x", answered.append)
    for reply in ("journal.jobs", "INBOX.x", "x._INBOX.y", "_INBOXjournal"):
        await bus.respond(Message("query", b"", reply), b"forged entry")
    bus.respond_nowait(Message("query", b"", ""), b"nobody asked")
    await bus.respond(Message("query", b"", "_INBOX_node.x"), b"answer")
    await eventually(lambda: answered)
    assert forged == []
    assert bus.counters["forged_replies"] == 4


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB x 0", "a\tb"])
async def test_a_subject_that_would_break_the_protocol_is_refused(bus: Bus, subject: str) -> None:
    with pytest.raises(ValueError):
        bus.publish_nowait(subject, b"")
    with pytest.raises(ValueError):
        await bus.append(subject, b"")
    with pytest.raises(ValueError):
        await bus.subscribe(subject, lambda m: None)


@pytest.mark.parametrize("headers", [{"a b": "x"}, {"a": "x\r\nb: y"}, {"a:": "x"}, {"": "x"}])
async def test_a_header_that_would_forge_another_is_refused(
    bus: Bus, headers: dict[str, str]
) -> None:
    with pytest.raises(ValueError):
        bus.publish_nowait("s", b"", headers)


async def test_a_client_with_its_own_inbox_prefix_gets_its_answers_there(
    world: World, bus: Bus
) -> None:
    replies: list[str] = []

    def answer(message: Message) -> None:
        replies.append(message.reply)
        bus.respond_nowait(message, b"ok")

    await bus.subscribe("q", answer)
    node = await world.connect(inbox_prefix="_INBOX_node-1")
    assert (await node.request("q", b"", timeout_s=2.0)).payload == b"ok"
    assert replies[0].startswith("_INBOX_node-1.")


async def test_without_a_broker_nothing_is_sent_and_all_calls_end_as_outages(
    world: World, bus: Bus, eventually: Eventually
) -> None:
    got: list[bytes] = []
    other = await world.connect()
    await other.subscribe("s", lambda m: got.append(m.payload))
    back = asyncio.Event()

    async def on_back() -> None:
        back.set()

    bus.on_reconnect(on_back)
    await world.crash()
    await eventually(lambda: not bus.connected and not other.connected)
    with pytest.raises(Outage):
        bus.publish_nowait("s", b"during the outage")
    with pytest.raises(Outage):
        await bus.publish("s", b"during the outage")
    with pytest.raises(Outage):
        await bus.request("s", b"during the outage", timeout_s=0.2)
    with pytest.raises(Outage):
        await bus.append("s", b"during the outage", timeout_s=0.2)

    await world.start()
    await asyncio.wait_for(back.wait(), 10.0)
    await eventually(lambda: bus.connected and other.connected)

    async def heard() -> bool:
        await bus.publish("s", b"after")
        return bool(got)

    await eventually(heard)
    assert set(got) == {b"after"}  # nothing of the outage arrived later
    assert bus.counters["reconnects"] == 1


async def test_a_call_under_way_ends_as_an_outage_when_the_broker_dies(
    world: World, bus: Bus, eventually: Eventually
) -> None:
    other = await world.connect()
    asked: list[Message] = []
    await other.subscribe("silent", asked.append)
    pending = asyncio.ensure_future(bus.request("silent", b"", timeout_s=60.0))
    await eventually(lambda: asked)
    await world.crash()
    with pytest.raises(Outage):
        await asyncio.wait_for(pending, 10.0)
