"""Is what a lease needs got once, given up when nobody wants it, and taken away behind it?"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.builders import SECOND_NS, a_node, an_end, an_order, ordered, started
from agent.depot_rig import Rig, a_depot, sealed
from penstock_contracts.leases import Exited, LeaseOrder
from penstock_contracts.work import Container, Input, Mount, Output, Secret
from penstock_node_agent.core import events
from penstock_node_agent.core.instructions import Finish, Ready
from penstock_node_agent.core.machine import handle
from penstock_node_agent.core.state import check
from penstock_node_agent.reaper.disk import Disk
from penstock_node_agent.workplace.files import Files
from penstock_node_agent.workplace.secret_files import SecretFiles
from penstock_node_agent.workplace.slots import Slots
from penstock_node_agent.workplace.unready import Unready
from penstock_node_agent.workplace.workbench import Tools, Workbench
from penstock_runtime.clock import SystemClock


class Bench(Tools):
    """A workbench on a state of its own: what the core says is done, what comes of it is heard.

    `pulling`: set while an image is being pulled. `busy`: what devices say, look by look.
    """

    def __init__(self, rig: Rig, tmp_path: Path) -> None:
        self.rig = rig
        self.depot = rig.link("n1")
        self.files = Files(self.depot, rig.disk, ())
        self.place = tmp_path / "memory"
        self.place.mkdir()
        self.secrets = SecretFiles(str(tmp_path), (str(self.place),))
        self.images = self
        self.pulling, self.pulled = asyncio.Event(), asyncio.Event()
        self.busy: list[dict[str, str]] = []
        self.looks: list[list[str]] = []
        self.heard: list[Any] = []
        self.told = asyncio.Event()
        self.state = a_node()
        self.slots = Slots(Disk(), str(tmp_path))
        self.bench = Workbench(self.state, SystemClock(), self.slots, self, self.take)

    def take(self, event: Any) -> None:
        if isinstance(event, events.Readied | events.Finished):
            self.heard.append(event)
            self.told.set()
        for instruction in handle(self.state, event):
            if isinstance(instruction, Ready):
                self.bench.ready(instruction.key)
            elif isinstance(instruction, Finish):
                self.bench.finish(instruction.key)
        check(self.state)

    async def hear(self) -> Any:
        """The next of Readied and Finished."""
        async with asyncio.timeout(10):
            await self.told.wait()
        self.told.clear()
        return self.heard[-1]

    async def run(self, order: LeaseOrder, make: dict[str, bytes] | None = None) -> Exited:
        """From its order to its end, with what its program makes."""
        self.take(ordered(order, as_of=order.lease_seq))
        await self.hear()
        self.take(events.Began(at_ns=20 * SECOND_NS, key=order.key))
        for path, data in (make or {}).items():
            (self.work(order) / path).write_bytes(data)
        self.take(an_end(order, at_ns=21 * SECOND_NS))
        await self.hear()
        return next(item for item in reversed(self.state.reports) if isinstance(item, Exited))

    def work(self, order: LeaseOrder) -> Path:
        slot = self.state.leases[order.key].slot
        assert slot is not None
        return Path(self.slots.work(slot))

    # -- as images and checks ----------------------------------------------------------------------
    def allowed_mounts(self, container: Container, tenant: str) -> None:
        if container.mounts:
            raise Unready("mount_not_allowed", "not here", "node")

    async def pull(self, image: str, policy: str, progress: Any) -> None:
        self.pulling.set()
        try:
            await self.pulled.wait()
        finally:
            self.pulling.clear()

    async def before(self, uuids: list[str]) -> dict[str, str]:
        return await self.after(uuids)

    async def after(self, uuids: list[str]) -> dict[str, str]:
        self.looks.append(uuids)
        return self.busy.pop(0) if self.busy else {}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with a_depot(tmp_path) as rig:
        made = Bench(rig, tmp_path)
        yield made
        made.bench.close()


async def test_inputs_are_there_when_it_begins_and_outputs_are_kept_when_it_has_ended(
    bench: Bench,
) -> None:
    await bench.rig.put("data", b"in")
    inputs, outputs = (Input("object:data", "data"),), (Output("model", "object:model"),)
    order = bench.rig.order(inputs=inputs, outputs=outputs)
    end = await bench.run(order, {"model": b"out"})
    assert (bench.work(order) / "data").read_bytes() == b"in"
    assert (await bench.rig.files.find("acme", "model")).bytes == 3
    assert [(one.path, one.bytes) for one in end.outputs] == [("model", 3)]
    without = bench.rig.order(outputs=outputs)
    end = await bench.run(without)
    assert (end.reason, end.exit_code, end.outputs) == ("output_failed", 0, ())


async def test_secrets_are_the_jobs_alone_while_it_lives(bench: Bench) -> None:
    await bench.rig.secrets.put("acme", sealed(bench.rig, "hunter2", "key"))
    secrets = (Secret("key", env="KEY"), Secret("key", path="key.pem"))
    order = bench.rig.order(secrets=secrets)
    bench.take(ordered(order))
    assert (await bench.hear()).code == ""
    variables = bench.bench.variables(order.key)
    assert variables["KEY"] == "hunter2"
    file = Path(variables["PENSTOCK_SECRETS"]) / "key.pem"
    assert file.read_text() == "hunter2" and file.is_relative_to(bench.place)
    assert stat.S_IMODE(file.stat().st_mode) == 0o400
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    bench.take(events.Began(at_ns=20 * SECOND_NS, key=order.key))
    bench.bench.sweep()
    assert file.exists(), "it still runs"
    bench.take(an_end(order, at_ns=21 * SECOND_NS))
    await bench.hear()
    assert bench.bench.variables(order.key) == {} and not file.parent.exists()


async def test_in_a_container_secrets_can_be_read_under_any_user_and_outside_by_nobody(
    bench: Bench,
) -> None:
    await bench.rig.secrets.put("acme", sealed(bench.rig, "hunter2", "key"))
    bench.pulled.set()
    order = bench.rig.order(
        secrets=(Secret("key", path="key"),), container=Container(image="i"), command=()
    )
    bench.take(ordered(order))
    await bench.hear()
    directory = Path(bench.bench.variables(order.key)["PENSTOCK_SECRETS"])
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (directory.parent, directory)]
    assert modes == [0o700, 0o755]
    assert stat.S_IMODE((directory / "key").stat().st_mode) == 0o444


async def test_secrets_that_an_agent_left_behind_go(bench: Bench) -> None:
    assert bench.secrets is not None
    bench.secrets.put("1/gone/0", {"key": "hunter2"}, an_order())
    bench.bench.sweep()
    assert os.listdir(bench.secrets.root) == []


async def test_a_directory_of_secrets_that_is_anothers_is_not_used(tmp_path: Path) -> None:
    files = SecretFiles(str(tmp_path), (str(tmp_path),))
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / os.path.basename(files.root)).symlink_to(other)
    with pytest.raises(PermissionError):
        files.put("1/a/0", {"key": "hunter2"}, an_order())
    assert not os.listdir(other)


async def test_getting_ready_ends_when_nobody_wants_it_any_more(bench: Bench) -> None:
    order = bench.rig.order(container=Container(image="i"))
    bench.take(ordered(order))
    async with asyncio.timeout(5):
        await bench.pulling.wait()
    bench.take(ordered(as_of=order.lease_seq, dropped=(order.key,)))
    assert isinstance(await bench.hear(), events.Finished)
    assert not bench.pulling.is_set() and not bench.state.leases


async def test_a_reaper_that_begins_anew_meanwhile_makes_nothing_happen_twice(
    bench: Bench,
) -> None:
    order = bench.rig.order(container=Container(image="i"))
    bench.take(ordered(order))
    async with asyncio.timeout(5):
        await bench.pulling.wait()
    bench.take(events.ReaperReady(at_ns=12 * SECOND_NS))
    bench.pulled.set()
    await bench.hear()
    bench.take(events.Began(at_ns=20 * SECOND_NS, key=order.key))
    bench.take(an_end(order, at_ns=21 * SECOND_NS))
    assert isinstance(await bench.hear(), events.Finished)
    assert [type(event).__name__ for event in bench.heard] == ["Readied", "Finished"]


async def test_what_cannot_be_had_here_is_declined_and_says_why(bench: Bench) -> None:
    order = bench.rig.order(container=Container(image="i", mounts=(Mount("/a", "/b"),)))
    bench.take(ordered(order))
    readied = await bench.hear()
    assert (readied.code, readied.blame) == ("mount_not_allowed", "node")


async def test_devices_are_looked_at_until_they_are_free_and_only_those_nobody_else_uses(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock_node_agent.workplace.workbench.HELD_AGAIN_S", 0.01)
    bench.checks = bench
    bench.take(started(checks=True))
    bench.take(events.ReaperReady(at_ns=3))
    half = bench.rig.order(devices=("D0",), gpu_milli=500)
    order = bench.rig.order(devices=("D0", "D1"), gpu_milli=500)
    bench.take(ordered(half, as_of=half.lease_seq))
    await bench.hear()
    bench.take(events.Began(at_ns=10 * SECOND_NS, key=half.key))
    bench.busy = [{}, {"D1": "400 MiB in use"}, {"D1": "400 MiB in use"}]
    await bench.run(order)
    while bench.heard[-1].held:
        bench.told.clear()
        await bench.hear()
    assert bench.looks == [["D0"], ["D1"], ["D1"], ["D1"], ["D1"]]
    assert bench.state.leases[order.key].stage == "over"
