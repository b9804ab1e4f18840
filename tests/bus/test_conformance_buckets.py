"""Do both adapters keep small state and objects alike?"""

from __future__ import annotations

import os

import pytest

from bus.conftest import World, a_stream
from penstock_bus.objects import CHUNK_BYTES
from penstock_bus.port import Bus, BusRefusal, WrongRevision


@pytest.fixture
async def kv(bus: Bus) -> Bus:
    await bus.ensure_buckets(["state"])
    await bus.ensure_buckets(["state"])  # safe to repeat
    return bus


@pytest.fixture
async def objects(bus: Bus) -> Bus:
    await bus.ensure_buckets(["snapshots"], objects=True)
    return bus


async def test_a_value_is_read_back_with_its_revision(kv: Bus) -> None:
    assert await kv.kv_get("state", "a") is None
    first = await kv.kv_put("state", "a", b"1")
    second = await kv.kv_put("state", "a", b"2")
    assert second > first
    value = await kv.kv_get("state", "a")
    assert value is not None and (value.value, value.revision) == (b"2", second)


async def test_compare_and_set_refuses_all_but_the_known_revision(kv: Bus) -> None:
    revision = await kv.kv_put("state", "a", b"1", expected_revision=0)
    with pytest.raises(WrongRevision):
        await kv.kv_put("state", "a", b"rival", expected_revision=0)
    next_revision = await kv.kv_put("state", "a", b"2", expected_revision=revision)
    with pytest.raises(WrongRevision):
        await kv.kv_put("state", "a", b"late", expected_revision=revision)
    with pytest.raises(WrongRevision):
        await kv.kv_put("state", "never", b"x", expected_revision=next_revision)
    value = await kv.kv_get("state", "a")
    assert value is not None and value.value == b"2"


async def test_a_deleted_key_is_absent_and_can_be_created_again(kv: Bus) -> None:
    await kv.kv_put("state", "a", b"1")
    await kv.kv_put("state", "b", b"1")
    await kv.kv_delete("state", "a")
    assert await kv.kv_get("state", "a") is None
    assert [v.key for v in await kv.kv_all("state")] == ["b"]
    revision = await kv.kv_put("state", "a", b"2", expected_revision=0)
    value = await kv.kv_get("state", "a")
    assert value is not None and (value.value, value.revision) == (b"2", revision)


@pytest.mark.parametrize("reason", ["MaxAge", "Purge", "Remove"])
async def test_a_key_that_the_broker_expired_is_absent_and_can_be_created_again(
    kv: Bus, reason: str
) -> None:
    await kv.kv_put("state", "lock", b"1")
    await kv.append("$KV.state.lock", b"", headers={"Nats-Marker-Reason": reason})
    assert await kv.kv_get("state", "lock") is None
    assert await kv.kv_all("state") == []
    assert await kv.kv_put("state", "lock", b"2", expected_revision=0) > 0


async def test_all_values_of_a_bucket_come_sorted_by_key(kv: Bus) -> None:
    for n in reversed(range(300)):
        await kv.kv_put("state", f"reader.{n:03}", b"%d" % n)
    await kv.kv_put("state", "reader.150", b"changed")
    values = await kv.kv_all("state")
    assert [v.key for v in values] == [f"reader.{n:03}" for n in range(300)]
    assert values[150].value == b"changed"


@pytest.mark.parametrize("key", ["", ".a", "a.", "a..b", "a b", "a*", ">"])
async def test_a_key_that_is_no_subject_is_refused(kv: Bus, key: str) -> None:
    with pytest.raises(BusRefusal):
        await kv.kv_put("state", key, b"")
    with pytest.raises(BusRefusal):
        await kv.kv_get("state", key)


async def test_buckets_survive_the_broker(world: World, kv: Bus) -> None:
    revision = await kv.kv_put("state", "a", b"1")
    await world.crash()
    await world.start()
    again = await world.connect()
    await again.ensure_buckets(["state"])
    value = await again.kv_get("state", "a")
    assert value is not None and (value.value, value.revision) == (b"1", revision)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * 1024 * 1024 + 7])
async def test_an_object_of_any_size_comes_back_whole(objects: Bus, size: int) -> None:
    data = os.urandom(size)
    await objects.object_put("snapshots", "jobs/000123", data)
    assert await objects.object_get("snapshots", "jobs/000123") == data
    assert await objects.object_get("snapshots", "jobs/000124") is None


async def test_a_replaced_object_leaves_nothing_behind(objects: Bus) -> None:
    await objects.object_put("snapshots", "a", os.urandom(2 * CHUNK_BYTES))
    await objects.object_put("snapshots", "b", b"other")
    new = os.urandom(CHUNK_BYTES + 1)
    await objects.object_put("snapshots", "a", new)
    await objects.object_put("snapshots", "a", new)
    assert await objects.object_get("snapshots", "a") == new
    assert (await objects.stream_state("OBJ_snapshots")).messages == 3 + 2
    assert await objects.object_names("snapshots") == ["a", "b"]


async def test_a_deleted_object_is_gone_with_its_chunks(objects: Bus) -> None:
    await objects.object_put("snapshots", "a", b"x")
    await objects.object_put("snapshots", "b", b"y")
    await objects.object_delete("snapshots", "a")
    assert await objects.object_get("snapshots", "a") is None
    assert await objects.object_names("snapshots") == ["b"]
    assert (await objects.stream_state("OBJ_snapshots")).messages == 2


async def test_an_object_with_a_lost_chunk_is_refused_not_truncated(objects: Bus) -> None:
    await objects.object_put("snapshots", "a", os.urandom(3 * CHUNK_BYTES))
    await objects.purge("OBJ_snapshots", up_to_seq=1)
    with pytest.raises(BusRefusal):
        await objects.object_get("snapshots", "a")


async def test_an_object_is_unnamed_until_all_of_it_is_stored(objects: Bus) -> None:
    await objects.append("$O.snapshots.C.eA==.0000", b"an upload that died half way")
    assert await objects.object_get("snapshots", "x") is None
    assert await objects.object_names("snapshots") == []
    await objects.object_put("snapshots", "x", b"whole")
    assert await objects.object_get("snapshots", "x") == b"whole"
    assert (await objects.stream_state("OBJ_snapshots")).messages == 2


async def test_a_bucket_name_that_would_escape_its_subject_is_refused(bus: Bus) -> None:
    await bus.ensure_streams([a_stream()])
    with pytest.raises(BusRefusal):
        await bus.ensure_buckets(["a.b"])
    with pytest.raises(BusRefusal):
        await bus.object_put("a.b", "x", b"")
