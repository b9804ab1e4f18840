"""Does the adapter get along with a cluster whose servers die, freeze and change leaders?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest

from bus.conftest import a_stream
from cluster import Cluster
from conftest import Eventually
from penstock_bus import nats_session, nats_streams
from penstock_bus.nats import NatsBus, connect, server_urls
from penstock_bus.port import KeyValue, Outage, StoredMessage, StreamRewound, WrongSequence

REPLICATED = a_stream(replicas=3)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
async def bus(cluster: Cluster) -> AsyncIterator[NatsBus]:
    bus = await connect(cluster.url, name="one")
    await bus.ensure_streams([REPLICATED])
    await bus.purge("EVENTS")
    yield bus
    await bus.close()


async def leader_of(bus: NatsBus, stream: str = "EVENTS") -> str:
    return str((await bus._streams.info(stream))["cluster"].get("leader", ""))


async def append_until_stored(bus: NatsBus, payload: bytes, after: int) -> int:
    """As a journal does it: the same bytes until they are stored, or were by an earlier try."""
    while True:
        try:
            options = {"expected_last_seq": after, "timeout_s": 1.0}
            return (await bus.append("event.a", payload, **options)).seq  # type: ignore[arg-type]
        except Outage:
            await asyncio.sleep(0.05)
        except WrongSequence:
            found = await bus.read("EVENTS", after + 1)
            if found is not None and found.payload == payload:
                return found.seq


async def put_until_stored(bus: NatsBus, value: bytes) -> int:
    """A bucket that was just made has no leader yet."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await bus.kv_put("state", "key", value)
            except Outage:
                await asyncio.sleep(0.05)


def test_addresses_are_given_as_a_list_or_with_commas_between() -> None:
    assert server_urls("nats://a:1, nats://b:2,") == ["nats://a:1", "nats://b:2"]
    assert server_urls(("nats://a:1", "nats://b:2")) == ["nats://a:1", "nats://b:2"]
    with pytest.raises(ValueError, match="no address"):
        server_urls(" ,")


async def test_streams_keep_their_replicas_when_they_are_made_again_with_fewer(
    bus: NatsBus,
) -> None:
    stream = a_stream("ASYNC", "async.>", async_persist=True)
    await bus.ensure_streams([msgspec.structs.replace(stream, replicas=3)])
    changed = msgspec.structs.replace(stream, max_bytes=2 * stream.max_bytes)
    await bus.ensure_streams([changed])
    config = (await bus._streams.info("ASYNC"))["config"]
    assert (config["num_replicas"], config["max_bytes"]) == (3, changed.max_bytes)
    assert config.get("persist_mode") in (None, "default")  # a replicated stream offers no other


async def test_a_bucket_is_read_from_its_leader(bus: NatsBus) -> None:
    await bus.ensure_buckets(["state"])
    for n in range(20):
        revision = await put_until_stored(bus, b"%d" % n)
        assert await bus.kv_get("state", "key") == KeyValue("key", b"%d" % n, revision)
    assert await bus.kv_get("state", "other") is None
    assert [item.key for item in await bus.kv_all("state")] == ["key"]


@pytest.mark.long
async def test_a_lost_server_costs_time_and_nothing_else(
    cluster: Cluster, bus: NatsBus, eventually: Eventually
) -> None:
    reader = await bus.reader("EVENTS", after_seq=(await bus.stream_state("EVENTS")).last_seq)
    seq = (await bus.append("event.a", b"0")).seq
    lost = await leader_of(bus)
    cluster.kill(lost)
    for n in range(1, 6):
        seq = await append_until_stored(bus, b"%d" % n, seq)
    got: list[StoredMessage] = []
    async with asyncio.timeout(20):
        while len(got) < 6:
            got += await reader.next_batch()
    assert [message.payload for message in got] == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert [message.seq for message in got] == list(range(got[0].seq, got[0].seq + 6))
    cluster.start(lost)

    async def all_current() -> bool:
        info = (await bus._streams.info("EVENTS"))["cluster"]
        return all(replica["current"] for replica in info["replicas"])

    await eventually(all_current, timeout_s=20)


async def test_a_client_leaves_a_server_that_is_frozen_for_another(
    cluster: Cluster, bus: NatsBus, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_session, "WATCHDOG_S", 0.1)
    monkeypatch.setattr(nats_session, "WATCHDOG_TIMEOUT_S", 0.3)
    client = await connect(cluster.url, name="two")
    at = client._connection._server_info["server_name"]
    cluster.freeze(at)
    try:
        await eventually(lambda: client.counters["reconnects"] == 1 and client.connected)
        assert client._connection._server_info["server_name"] != at
    finally:
        cluster.thaw(at)
        await client.close()


async def test_a_client_leaves_a_server_that_is_apart_from_its_cluster(
    cluster: Cluster, bus: NatsBus, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers pings and passes messages on, but nothing can be stored there."""
    monkeypatch.setattr(nats_session, "WATCHDOG_S", 0.1)
    monkeypatch.setattr(nats_session, "STORAGE_S_MAX", 0.5)
    client = await connect(cluster.url, name="three")
    at = client._connection._server_info["server_name"]
    others = [name for name in cluster.urls if name != at]
    for name in others:
        cluster.freeze(name)
    try:

        async def tries_in_vain() -> bool:
            with pytest.raises(Outage):
                await client.append("event.a", b"x", timeout_s=0.2)
            return bool(client.counters["watchdog_reconnects"])

        await eventually(tries_in_vain)
    finally:
        for name in others:
            cluster.thaw(name)
        await client.close()


async def test_only_a_replicated_stream_that_goes_on_being_shorter_is_taken_for_rewound(
    bus: NatsBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    last_seq = (await bus.append("event.a", b"1")).seq
    answers = 0
    real = bus._calls.api

    async def api(subject: str, *rest: Any) -> dict[str, Any]:
        nonlocal answers
        answer = await real(subject, *rest)
        if subject.startswith("STREAM.INFO"):
            answers += 1
            if answers < 4:
                answer["state"]["last_seq"] = last_seq - 1
        return answer

    monkeypatch.setattr(bus._calls, "api", api)
    await (await bus.reader("EVENTS", after_seq=last_seq)).close()
    assert answers == 4
    answers = 0
    assert (await bus.stream_state("EVENTS", at_least=last_seq)).last_seq == last_seq
    assert answers == 4
    monkeypatch.setattr(nats_streams, "SHORTER_S_MIN", 0.2)
    assert (await bus.stream_state("EVENTS", at_least=last_seq + 1)).last_seq == last_seq
    with pytest.raises(StreamRewound):
        await bus.reader("EVENTS", after_seq=last_seq + 1)
