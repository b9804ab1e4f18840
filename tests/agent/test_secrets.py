"""Can nobody read a secret but the job that it is for?"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from nacl.public import PrivateKey

from agent.depot_rig import TENANT, Rig, a_depot, failure, sealed
from penstock_contracts.depot import PutSecret
from penstock_contracts.ids import ROOT
from penstock_contracts.streams import SECRETS
from penstock_contracts.work import Secret
from penstock_gateway.depot_secrets import SecretKeeper
from penstock_gateway.refused import Refused
from penstock_node_agent.workplace.depot_link import DepotLink


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with a_depot(tmp_path) as rig:
        yield rig


async def test_secrets_go_to_whoever_holds_a_lease_that_names_them(rig: Rig) -> None:
    await rig.secrets.put(TENANT, sealed(rig, "hunter2", "key"))
    await rig.secrets.put(TENANT, sealed(rig, "other", "else"))
    order = rig.order(secrets=(Secret("key", env="KEY"), Secret("key", path="key")))
    link = DepotLink(rig.bus, "n1", patience_s=0)
    assert await link.secrets(order) == {"key": "hunter2"}
    assert await failure(DepotLink(rig.bus, "n2", patience_s=0).secrets(order)) == (
        "not_held",
        "node",
    )
    missing = rig.order(secrets=(Secret("none", env="X"),))
    assert await failure(link.secrets(missing)) == ("no_such_secret", "job")
    names = (await rig.secrets.names(TENANT)).secrets
    assert [secret.name for secret in names] == ["else", "key"]
    await rig.secrets.remove(TENANT, "key")
    assert await failure(link.secrets(order)) == ("no_such_secret", "job")


async def test_a_sealed_secret_is_of_no_use_to_another_tenant_or_name(rig: Rig) -> None:
    theirs = sealed(rig, "hunter2", "key")
    for tenant, put in (("evil", theirs), (TENANT, PutSecret("mine", theirs.sealed))):
        with pytest.raises(Refused) as caught:
            await rig.secrets.put(tenant, put)
        assert caught.value.refusal.code == "not_sealed"
    other = SecretKeeper(rig.bus, PrivateKey.generate(), time.time_ns)
    await rig.secrets.put(TENANT, theirs)
    with pytest.raises(Refused) as caught:
        await other.hand_out(TENANT, ["key"], bytes(PrivateKey.generate().public_key))
    assert caught.value.refusal.code == "no_such_secret"


async def test_the_broker_never_has_what_a_secret_says(rig: Rig) -> None:
    seen: list[bytes] = []
    await rig.bus.subscribe(">", lambda message: seen.append(message.payload))
    subject = f"{ROOT}.depot.tenant.{TENANT}.put_secret"
    payload = msgspec.json.encode(sealed(rig, "hunter2-hunter2", "key"))
    await rig.bus.request(subject, payload, timeout_s=5)
    order = rig.order(secrets=(Secret("key", env="KEY"),))
    assert await DepotLink(rig.bus, "n1").secrets(order) == {"key": "hunter2-hunter2"}
    stored = await rig.bus.read_many(f"KV_{SECRETS}", 1, ">")
    assert len(seen) >= 3 and stored
    assert not any(b"hunter2" in data for data in (*seen, *(one.payload for one in stored)))
