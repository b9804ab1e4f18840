"""Does a host that has joined stay a node for as long as it is one, and no longer?"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from joining.conftest import Mesh, now_s
from penstock_bus import authority
from penstock_bus.jwt import render_creds
from penstock_bus.port import Outage
from penstock_contracts.errors import Refusal
from penstock_contracts.nodes import NodeCommand
from penstock_node_agent.config import Config
from penstock_node_agent.joining import standing
from penstock_node_agent.joining.admission import NotAdmitted
from penstock_node_agent.joining.membership import MembershipFiles
from penstock_node_agent.joining.standing import (
    EXIT_NOT_ADMITTED,
    PUT_OUT,
    Standing,
    standing_of,
)
from penstock_runtime.process import StopSignal


class NoReaper:
    """Only counts how often it was told to end."""

    def __init__(self) -> None:
        self.ended = 0

    async def end(self, timeout_s: float) -> None:
        self.ended += 1


def a_standing(files: MembershipFiles, **settings: Any) -> Standing:
    member = files.load()
    if member is None:
        raise AssertionError("the host has not joined")
    return Standing(Config(**settings), member, files, now_s)


def expire(mesh: Mesh, files: MembershipFiles, node: str, left_s: int) -> None:
    """The host's credential ends in so many seconds."""
    key = files.key()
    account = mesh.broker.trust.authority_keys()
    signed = authority.sign_user(
        authority.KeyPair.from_seed(account.node),
        key.public,
        name=node,
        account_key=account.nodes_account,
        issued_s=now_s() - 100,
        expires_s=now_s() + left_s,
    )
    files.creds.write_text(render_creds(signed, key), encoding="ascii")


async def test_the_agent_is_what_the_mesh_says(joined_mesh: Mesh, tmp_path: Path) -> None:
    await joined_mesh.join(tmp_path / "membership", "gpu-1", site="rome")
    ours = standing_of(Config(state_dir=tmp_path, labels={"site": "x", "zone": "z"}))
    assert ours is not None
    config = ours.config
    assert (config.node, config.nats_url) == ("gpu-1", joined_mesh.broker.url)
    assert config.labels == {"site": "rome", "zone": "z"}
    assert config.advertise_address == "127.0.0.1"
    assert standing_of(Config(state_dir=tmp_path, nats_creds=Path("x"))) is None
    assert standing_of(Config(state_dir=tmp_path / "elsewhere")) is None


async def test_a_credential_is_renewed_long_before_it_runs_out(
    joined_mesh: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    monkeypatch.setattr(authority, "CREDENTIAL_S", 4)
    files = await joined_mesh.join(tmp_path / "a", "renewing")
    ours = a_standing(files)
    bus = await ours.dial()
    keeping = asyncio.ensure_future(ours.keep(lambda reason: None))
    await eventually(lambda: bus.counters["renewals"] >= 1)
    await eventually(lambda: bus.connected)
    assert bus.counters["credentials_ended"] == 0
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await bus.close()


async def test_an_agent_whose_credential_ran_out_comes_back_by_itself(
    joined_mesh: Mesh, tmp_path: Path, eventually: Any
) -> None:
    files = await joined_mesh.join(tmp_path / "a", "asleep")
    expire(joined_mesh, files, "asleep", left_s=1)
    ours = a_standing(files)
    bus = await ours.dial()
    heard: list[Any] = []
    await bus.subscribe("penstock.v1.node.asleep.renewal", heard.append)
    await eventually(lambda: not bus.connected)
    keeping = asyncio.ensure_future(ours.keep(lambda reason: None))
    await eventually(lambda: bus.connected)
    assert bus.counters["credentials_ended"] >= 1
    scheduler = await joined_mesh.broker.connect("scheduler", "scheduler")
    await scheduler.publish("penstock.v1.node.asleep.renewal", b"{}")
    await eventually(lambda: heard)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    for one in (bus, scheduler):
        await one.close()


async def test_an_agent_that_starts_after_its_credential_ran_out_gets_a_new_one(
    joined_mesh: Mesh, tmp_path: Path
) -> None:
    files = await joined_mesh.join(tmp_path / "a", "away")
    expire(joined_mesh, files, "away", left_s=-10)
    ours = a_standing(files)
    with pytest.raises(Outage):
        await ours.dial()
    bus = await ours.dial()
    assert bus.connected
    await bus.close()


async def test_an_agent_that_is_put_out_hears_of_it_and_ends(
    joined_mesh: Mesh, tmp_path: Path
) -> None:
    files = await joined_mesh.join(tmp_path / "a", "ends")
    ours, reaper, stop = a_standing(files), NoReaper(), StopSignal()
    connected = asyncio.Event()

    async def live(dial: Any, stop: StopSignal) -> int:
        bus = await dial()
        connected.set()
        await stop.wait()
        await bus.close()
        return 0

    living = asyncio.ensure_future(ours.live(live, reaper, stop))  # type: ignore[arg-type]
    await connected.wait()
    await joined_mesh.operator.command_node("ends", "remove", NodeCommand())
    assert await asyncio.wait_for(living, 5) == EXIT_NOT_ADMITTED
    assert stop.reason == PUT_OUT
    late = StopSignal()
    again = a_standing(files).live(live, reaper, late)  # type: ignore[arg-type]
    assert await asyncio.wait_for(again, 10) == EXIT_NOT_ADMITTED
    assert reaper.ended == 1, "what was left running is ended"


async def test_only_the_word_that_its_key_was_revoked_ends_an_agent(
    joined_mesh: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mesh that was restored from before the host joined must not stop what runs there."""
    files = await joined_mesh.join(tmp_path / "a", "unknown")
    bound = a_standing(files)
    code = ""

    async def refuse(*_: Any) -> None:
        raise NotAdmitted(Refusal(code, "no"))

    monkeypatch.setattr(standing, "renew", refuse)
    for code in ("key_unknown", "joining_off", "unauthorized"):
        with pytest.raises(Outage, match=code):
            await bound._renew()
    code = "key_revoked"
    with pytest.raises(NotAdmitted, match="key_revoked"):
        await bound._renew()
