"""Do files and secrets go through the client as they should?"""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.depot_rig import TENANT, Rig, a_depot
from penstock_client import depot as client_depot
from penstock_client.depot import Depot, get_path, put_path
from penstock_client.failures import Refused
from penstock_contracts.depot import CHUNK_BYTES
from penstock_contracts.streams import FILES
from penstock_contracts.work import Secret
from penstock_node_agent.workplace.depot_link import DepotLink


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with a_depot(tmp_path) as rig:
        yield rig


async def refusal(work: object) -> str:
    with pytest.raises(Refused) as caught:
        await work  # type: ignore[misc]
    return caught.value.refusal.code


@pytest.mark.parametrize("size", [0, 5, CHUNK_BYTES * 10 + 3])
async def test_a_file_comes_back_as_it_went(rig: Rig, tmp_path: Path, size: int) -> None:
    source, target, depot = tmp_path / "a", tmp_path / "b", Depot(rig.bus, TENANT)
    source.write_bytes(os.urandom(size))
    kept = await put_path(depot, "data set.csv", source)
    assert await get_path(depot, "data set.csv", target) == kept
    assert target.read_bytes() == source.read_bytes() and kept.bytes == size
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "mounted", "work"]


async def test_names_are_a_tenants_own(rig: Rig) -> None:
    ours, theirs = Depot(rig.bus, TENANT), Depot(rig.bus, "other")
    for name in ("b", "a", "c"):
        await ours.put(name, io.BytesIO(b"text"))
    await ours.remove("c")
    assert [file.name for file in await ours.files()] == ["a", "b"]
    assert await theirs.files() == []
    assert await refusal(theirs.find("a")) == "no_such_file"
    assert await refusal(ours.remove("c")) == "no_such_file"
    for bad in ("", "/a", "a\nb", "x" * 300):
        assert await refusal(ours.put(bad, io.BytesIO(b"text"))) == "invalid_field"
    assert await refusal(Depot(rig.bus, "a.b").files()) == "invalid_tenant"


async def test_a_file_whose_parts_are_gone_is_not_passed_off_as_whole(
    rig: Rig, tmp_path: Path
) -> None:
    depot, target = Depot(rig.bus, TENANT), tmp_path / "b"
    await depot.put("data", io.BytesIO(os.urandom(CHUNK_BYTES + 1)))
    stored = await rig.bus.read_many(f"OBJ_{FILES}", 1, f"$O.{FILES}.C.>")
    await rig.bus.append(stored[0].subject, b"damaged")
    assert await refusal(get_path(depot, "data", target)) == "file_incomplete"
    assert not target.exists()


async def test_a_secret_is_set_listed_and_removed_and_never_read(rig: Rig) -> None:
    depot = Depot(rig.bus, TENANT)
    await depot.set_secret("key", "hunter2")
    await depot.set_secret("key", "hunter3")
    assert [secret.name for secret in await depot.secrets()] == ["key"]
    order = rig.order(secrets=(Secret("key", env="KEY"),))
    assert await DepotLink(rig.bus, "n1").secrets(order) == {"key": "hunter3"}
    await depot.remove_secret("key")
    assert await depot.secrets() == ()
    for name, text in (("key", ""), ("key", "x" * 70_000), ("a b", "x"), ("", "x")):
        assert await refusal(depot.set_secret(name, text)) == "invalid_field"


async def test_a_depot_that_is_busy_is_asked_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock_gateway.depot.PENDING_MAX", 2)
    monkeypatch.setattr(client_depot, "RETRY_S", 0.01)
    data = os.urandom(CHUNK_BYTES * 9)
    kept = await Depot(rig.bus, TENANT).put("data", io.BytesIO(data))
    assert kept.bytes == len(data)
