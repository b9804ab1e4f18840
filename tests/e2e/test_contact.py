"""Does work go on or stop as promised while its node cannot reach the broker?

Whatever its agent does meanwhile. Real processes: the far node's link is cut while a job runs
there, and its agent lives on, dies, or is stopped. A second node has the same kind of device, for
whatever is placed elsewhere.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from e2e.far_node import FarNode, a_link
from e2e.mesh import Mesh
from e2e.raw import RawClient, a_job

pytestmark = pytest.mark.long

TENANT = "contact"
ALIVE, DEAD, STOPPED = "alive", "dead", "stopped"
DISCONNECT_S = 5
LOST_S_MAX = 30
SCRIPT = """
echo "begin $PENSTOCK_ATTEMPT $PENSTOCK_NODE $(date +%s%N)" >> "$0/story"
trap 'echo "stop $PENSTOCK_ATTEMPT $PENSTOCK_NODE $(date +%s%N)" >> "$0/story"; exit 9' TERM
number=0
while [ ! -e "$0/go" ]; do
    number=$((number + 1)); echo "line $number"; date +%s%N > "$0/alive.$PENSTOCK_NODE"; sleep 0.05
done
echo "end $PENSTOCK_ATTEMPT $PENSTOCK_NODE $(date +%s%N)" >> "$0/story"
exit 7
"""


class Cell:
    """A far node with a running job, and a near one with a device of the same model."""

    def __init__(self, mesh: Mesh, client: RawClient, place: Path, far: FarNode, near: FarNode):
        self.mesh, self.client, self.place, self.far, self.near = mesh, client, place, far, near
        self.model = place.name
        place.mkdir()

    async def begin(self, **fields: Any) -> str:
        """Both nodes are there, and the job runs on the far one."""
        self.far.start()
        await self.until(lambda: self.liveness(self.far) == "alive")
        job = a_job("/bin/sh", "-c", SCRIPT, str(self.place), gpus=1, **fields)
        job |= {"gpu_models": [self.model], "grace_s": 1}
        await self.client.submit(TENANT, job)
        await self.client.until_fact(job["job_id"], "running")
        self.near.start()
        await self.until(lambda: self.liveness(self.near) == "alive")
        return str(job["job_id"])

    def liveness(self, node: FarNode) -> str:
        view = self.mesh.nodes().get(node.name)
        return "" if view is None else str(view["liveness"])

    async def until(self, condition: Any, timeout_s: float = LOST_S_MAX) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while not await asyncio.to_thread(condition):
            assert loop.time() < deadline, f"not within {timeout_s} s: {self.story()}"
            await asyncio.sleep(0.1)

    def story(self) -> list[list[str]]:
        file = self.place / "story"
        if not file.exists():
            return []
        return [line.split() for line in file.read_text("ascii").splitlines()]

    def last_alive_ns(self, node: FarNode) -> int:
        return int((self.place / f"alive.{node.name}").read_text("ascii") or "0")

    def lose_contact(self, fate: str) -> None:
        self.far.cut()
        if fate == DEAD:
            self.far.kill()
        elif fate == STOPPED:
            self.far.signal(signal.SIGSTOP)

    def find_contact(self, fate: str) -> None:
        self.far.mend()
        if fate == DEAD:
            self.far.start()
        elif fate == STOPPED:
            self.far.signal(signal.SIGCONT)

    async def output(self, job_id: str, size: int) -> str:
        """All that was written, once it is stored."""
        done = await asyncio.to_thread(self.mesh.cli, "logs", "-f", job_id)
        assert len(done.stdout) == size
        return done.stdout

    async def rival(self) -> str:
        """Another job wants the same model: the node it ran on."""
        job = a_job("/bin/true", gpus=1, gpu_models=[self.model])
        await self.client.submit(TENANT, job)
        ended = await self.client.until_ended(job["job_id"], timeout_s=LOST_S_MAX)
        assert ended["fact"] == "succeeded"
        placed = await self.client.until_fact(job["job_id"], "placed")
        return str(placed["nodes"][0])

    async def settled(self) -> None:
        """The ledger is exact, and the far node takes work again."""
        await self.until(
            lambda: self.mesh.cli("check", exit_code=None).returncode == 0, timeout_s=60
        )
        self.mesh.cli("node", "cordon", self.near.name)
        assert await self.rival() == self.far.name


@pytest.fixture
async def cell(
    rough_mesh: Mesh, rough_client: RawClient, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Cell]:
    policy, fate = request.node.callspec.params["policy"], request.node.callspec.params["fate"]
    name = f"{policy}-{fate}"
    links = [await a_link(rough_mesh), await a_link(rough_mesh)]
    far = FarNode(rough_mesh, f"far-{name}", name, links[0])
    near = FarNode(rough_mesh, f"near-{name}", name, links[1])
    await rough_client.follow(TENANT)
    yield Cell(rough_mesh, rough_client, tmp_path / name, far, near)
    for node in (far, near):
        node.end()
    for link in links:
        await link.close()


@pytest.mark.lesson(2, 13)
@pytest.mark.parametrize("fate", [ALIVE, DEAD, STOPPED])
@pytest.mark.parametrize("policy", ["keep"])
async def test_work_without_a_limit_goes_on_through_silence_and_ends_once(
    cell: Cell, policy: str, fate: str
) -> None:
    job_id = await cell.begin()
    cell.lose_contact(fate)
    await cell.until(lambda: cell.liveness(cell.far) == "lost")
    assert await cell.rival() == cell.near.name, "the device of a silent node is not given away"
    seen_ns = cell.last_alive_ns(cell.far)
    await cell.until(lambda: cell.last_alive_ns(cell.far) > seen_ns)
    (cell.place / "go").touch()
    await cell.until(lambda: cell.story()[-1][0] == "end")
    cell.find_contact(fate)
    ended = await cell.client.until_ended(job_id, timeout_s=LOST_S_MAX)
    assert (ended["fact"], ended["exit_code"], ended["attempt"]) == ("failed", 7, 1)
    assert [line[:3] for line in cell.story()] == [
        ["begin", "1", cell.far.name],
        ["end", "1", cell.far.name],
    ]
    text = await cell.output(job_id, ended["log_bytes"]["1.0.stdout"])
    assert text.splitlines() == [f"line {number + 1}" for number in range(text.count("\n"))]
    await cell.settled()


@pytest.mark.lesson(13)
@pytest.mark.parametrize("fate", [ALIVE, DEAD, STOPPED])
@pytest.mark.parametrize("policy", ["limit"])
async def test_work_with_a_limit_stops_by_itself_and_begins_elsewhere_only_afterwards(
    cell: Cell, policy: str, fate: str
) -> None:
    job_id = await cell.begin(disconnect_s=DISCONNECT_S, retries=1)
    cell.lose_contact(fate)
    await cell.until(lambda: len(cell.story()) == 3)
    begin, stop, again = cell.story()
    assert (begin[:3], stop[:3], again[:3]) == (
        ["begin", "1", cell.far.name],
        ["stop", "1", cell.far.name],
        ["begin", "2", cell.near.name],
    )
    assert cell.last_alive_ns(cell.far) <= int(stop[3]) < int(again[3])
    (cell.place / "go").touch()
    ended = await cell.client.until_ended(job_id, timeout_s=LOST_S_MAX)
    assert (ended["fact"], ended["exit_code"], ended["attempt"]) == ("failed", 7, 2)
    assert await cell.rival() == cell.near.name
    cell.find_contact(fate)
    await cell.until(lambda: cell.liveness(cell.far) == "alive")
    await cell.settled()
    assert len(cell.story()) == 4, "nothing began a third time"
