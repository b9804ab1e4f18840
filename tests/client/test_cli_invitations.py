"""Do the commands by which hosts are let in print what a person and a program need?"""

from __future__ import annotations

import json

import pytest

from client.conftest import Penstock
from client.mesh import FakeMesh
from penstock_client.inviting import own_address, reachable
from penstock_contracts.errors import Refusal
from penstock_contracts.joining import Invitation, InvitationsView

KEY, HOST = "U" + "A" * 55, "U" + "B" * 55


async def test_over_a_broker_without_tls_nobody_is_invited(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    done = await penstock("node", "invite")
    assert done.code == 2
    assert b"no_tls" in done.err and b"--listen" in done.err
    assert done.out == b""


async def test_invitations_are_listed_and_hosts_approved_of(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    made = Invitation(key=KEY, state="waiting", expires_ms=5, node="gpu-7", host_key=HOST)
    await real_mesh.answer("query.inventory.invitations", InvitationsView(invitations=(made,)))
    listed = await penstock("node", "invitations")
    assert listed.out.splitlines()[1].split()[1:3] == [b"waiting", b"gpu-7"]
    as_data = json.loads((await penstock("node", "invitations", "--json")).out)
    assert as_data[0]["host_key"] == HOST
    await real_mesh.answer(
        "command.invite.approve",
        lambda asked: made if b"gpu-7" in asked else Refusal("nobody_waits", "nobody waits"),
    )
    assert b"gpu-7" in (await penstock("node", "approve", "gpu-7")).out
    refused = await penstock("node", "approve", "gpu-8")
    assert (refused.code, b"nobody_waits" in refused.err) == (2, True)


@pytest.mark.parametrize("given", ["tls://10.0.0.1:4222", "tls://mesh.example:4222"])
def test_an_address_that_others_can_use_stays(given: str) -> None:
    assert reachable(given) == given


def test_localhost_becomes_this_machine_s_own_address() -> None:
    own = own_address()
    assert reachable("tls://localhost:4222") == f"tls://{own}:4222"
    assert reachable("tls://localhost:1, tls://b:2") == f"tls://{own}:1,tls://b:2"
