"""Does `penstock top` show what is on every host, device and job, and nothing that nobody says?"""

from __future__ import annotations

import json
import re
import time
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from client.builders import NOW_MS
from client.conftest import Penstock
from client.mesh import FakeMesh
from client.overviews import Scene, a_host, a_job, a_sample, answer, use_of
from penstock_bus import memory
from penstock_bus.memory_broker import MemoryBroker
from penstock_client.client import Client
from penstock_client.commands.top_page import DEVICES, HOSTS, page_of
from penstock_client.failures import Unavailable
from penstock_client.overview import Overview, overview_of
from penstock_client.watching import Watching
from penstock_contracts.ids import ROOT
from penstock_contracts.nodes import Device
from penstock_contracts.queries import NodesView, RankView
from penstock_contracts.samples import DeviceSample, NodeSample, WorkSample

HOSTS_80 = """\
4 hosts  32 GPUs: 13 used, 10 free, 1 sick, 8 away  2 running, 2 waiting  8.7 kW

HOST    STATE     MODEL      0    1    2    3    4    5    6    7  POWER
gpu-01  alive     H100     97%  97%  97%  99%  97%  97%  97%  97% 5396 W
gpu-02  alive     H100     96%  95%  97%  12% free free   3% free 2451 W
gpu-03  draining  H100     41% free free free free sick free free  826 W
gpu-04  lost      H100    away away away away away away away away      –

JOB                         NAME            STATE     GPUS  UTIL    GIB      FOR
"""
DEVICES_80 = """\
HOST    GPU  MODEL  UTIL  GIB USED/ALL   POWER   °C  JOB
gpu-01    0  H100    97%     56.8/79.6   673 W   62  pretrain-7b
"""


def an_overview(scene: Scene, **changes: Any) -> Overview:
    return overview_of(NOW_MS, scene.nodes, scene.use, scene.jobs, scene.samples, **changes)


def text_of(overview: Overview, view: str, columns: int) -> list[str]:
    page = page_of(overview, view, columns)
    return ["".join(piece.text for piece in line).rstrip() for line in (*page.head, *page.body)]


def test_hosts_and_jobs_fit_a_terminal_of_80_columns() -> None:
    scene = Scene()
    scene.jobs[2] = replace(scene.jobs[2], state="placed")
    lines = text_of(an_overview(scene), HOSTS, 80)
    assert "\n".join(lines[:9]) + "\n" == HOSTS_80
    jobs = [line[28:] for line in lines[9:]]
    assert [re.sub(" +", " ", job) for job in jobs] == [
        "pretrain-7b running 12 90% 632 2h 00m",
        "serve running 1 41% 24.0 1m 35s",
        "eval placed 2 – – 0ms",
        "sweep-12 queued 1 – – 5.0s",
    ]


def test_a_line_per_device_says_who_holds_it() -> None:
    lines = text_of(an_overview(Scene()), DEVICES, 80)
    assert "\n".join(line[:66].rstrip() for line in lines[2:4]) + "\n" == DEVICES_80
    by_device = {tuple(line.split()[:2]): line for line in lines[3:]}
    assert by_device["gpu-02", "4"].endswith("free")
    assert "sick: XID 79: fallen off" in by_device["gpu-03", "5"]
    assert by_device["gpu-04", "7"].split()[3:] == ["–", "–/79.6", "–", "–", "away"]


@pytest.mark.parametrize("view", [HOSTS, DEVICES])
def test_no_line_is_wider_than_the_terminal(view: str) -> None:
    scene = Scene()
    scene.nodes = (*scene.nodes, a_host("a-name-" * 8, devices=40, model="H100-1g.10gb+me"))
    overview = an_overview(scene, silent=("scheduler", "inventory"), more=True)
    for columns in range(10, 240):
        assert max(map(len, text_of(overview, view, columns))) <= columns
    empty = overview_of(NOW_MS, (), {}, [], {})
    assert text_of(empty, view, 80)[0] == "0 hosts  0 GPUs: 0 used, 0 free  0 running, 0 waiting"


def test_a_wider_terminal_says_more() -> None:
    lines = text_of(an_overview(Scene()), HOSTS, 120)
    (job,) = (line for line in lines if "pretrain-7b" in line)
    assert (
        re.sub(" +", " ", job[26:])
        == " acme pretrain-7b running 12 90% 632 7542 W gpu-01 +1 2h 00m"
    )


def test_names_cannot_drive_the_terminal() -> None:
    scene = Scene()
    spec = replace(scene.jobs[0].spec, name="\x1b[2Jgone")
    scene.jobs[0] = replace(scene.jobs[0], spec=spec)
    assert not any("\x1b" in line for line in text_of(an_overview(scene), HOSTS, 80))


def test_a_device_that_several_jobs_share_is_told_apart_by_their_processes() -> None:
    host = a_host("h", devices=1)
    first, second = a_job("one", ("h", (0,))), a_job("two", ("h", (0,)))
    work = (
        WorkSample(job_id=first.job_id, memory_mib=1_000, utilisation_percent=30),
        WorkSample(job_id=second.job_id, memory_mib=500),
        WorkSample(memory_mib=7),
    )
    device = DeviceSample(
        uuid="GPU-h-0", index=0, model="H100", utilisation_percent=77, power_mw=300_000, work=work
    )
    sample = NodeSample(node="h", at_ms=NOW_MS, every_ms=10_000, devices=(device,))
    jobs = [first, second]
    overview = overview_of(NOW_MS, (host,), {"h": use_of(host, jobs)}, jobs, {"h": sample})
    one, two = overview.jobs
    assert (one.utilisation_percent, one.memory_mib, one.power_mw) == (30, 1_000, None)
    assert (two.utilisation_percent, two.memory_mib, two.power_mw) == (None, 500, None)
    (held,) = overview.nodes[0].devices
    assert (held.jobs, held.utilisation_percent) == ((first.job_id, second.job_id), 77)


def test_a_released_device_is_not_its_former_jobs() -> None:
    host = a_host("h", devices=1)
    job = a_job("ends", ("h", (0,)), state="stopping")
    released = replace(job, ranks=(RankView(0, "h", ("GPU-h-0",), released=True),))
    overview = overview_of(NOW_MS, (host,), {"h": use_of(host, [])}, [released], {})
    assert overview.nodes[0].devices[0].state == "free"


def test_power_of_a_gpu_that_is_cut_into_instances_is_its_hosts() -> None:
    host = a_host("h", devices=0)
    part = Device(uuid="MIG-1", index=0, model="H100-1g.10gb", parent="GPU-1")
    host = replace(host, description=replace(host.description, devices=(part,)))
    whole = DeviceSample(uuid="GPU-1", index=0, model="H100", offered=False, power_mw=90_000)
    instance = DeviceSample(uuid="MIG-1", index=0, model="H100-1g.10gb", parent="GPU-1")
    sample = NodeSample(node="h", at_ms=NOW_MS, every_ms=1_000, devices=(whole, instance))
    overview = overview_of(NOW_MS, (host,), {}, [], {"h": sample})
    assert overview.nodes[0].power_mw == 90_000


@pytest.mark.lesson(24)
def test_what_nobody_says_is_unknown_and_not_zero() -> None:
    host = a_host("h", devices=1)
    overview = overview_of(NOW_MS, (host,), {}, [a_job("works", ("h", (0,)))], {})
    (node,), (job,) = overview.nodes, overview.jobs
    unknown = (node.power_mw, node.leases, node.devices[0].utilisation_percent, job.memory_mib)
    assert unknown == (None, None, None, None)


async def publish(mesh: FakeMesh, sample: NodeSample) -> None:
    await mesh.store(f"{ROOT}.node.{sample.node}.sample", msgspec.json.encode(sample))


async def test_the_last_readings_are_there_at_once_and_newer_ones_follow(
    mesh: FakeMesh, client: Client, eventually: Any
) -> None:
    scene = Scene()
    await answer(mesh, scene)
    await publish(mesh, scene.samples["gpu-01"])
    async with Watching(client) as watching:
        now_ms = _now_ms()
        first = await watching.look(now_ms)
        assert [node.power_mw is not None for node in first.nodes] == [True, False, False, False]
        await publish(mesh, a_sample(scene.nodes[1], scene.jobs, {0: 55}))

        async def heard() -> bool:
            overview = await watching.look(now_ms)
            return overview.nodes[1].devices[0].utilisation_percent == 55

        await eventually(heard)


async def test_readings_of_long_ago_are_not_shown_as_of_now(mesh: FakeMesh, client: Client) -> None:
    scene = Scene()
    await answer(mesh, scene)
    await publish(mesh, scene.samples["gpu-01"])
    async with Watching(client) as watching:
        later = await watching.look(_now_ms() + 31_000)
        assert [node.power_mw for node in later.nodes] == [None] * 4


async def test_what_a_service_does_not_answer_stays_as_it_was_and_is_said_to_be_old(
    mesh: FakeMesh, broker: MemoryBroker
) -> None:
    scene = Scene()
    client = Client(await memory.connect(broker, name="client"))
    async with Watching(client) as watching:
        with pytest.raises(Unavailable, match="inventory"):
            await watching.look(NOW_MS)
        await mesh.answer("query.inventory.nodes", NodesView(1, scene.nodes))
        overview = await watching.look(NOW_MS)
        assert (len(overview.nodes), overview.jobs) == (4, ())
        assert overview.silent == ("scheduler",)
        assert "no answer from scheduler: older facts" in text_of(overview, HOSTS, 80)


async def test_a_page_is_printed_where_there_is_no_terminal(
    real_mesh: FakeMesh, penstock: Penstock
) -> None:
    scene = Scene()
    await answer(real_mesh, scene)
    await publish(real_mesh, scene.samples["gpu-02"])
    for options in ((), ("--once",), ("--once", "--devices")):
        done = await penstock("top", *options)
        assert (done.code, done.err) == (0, b"")
        assert b"pretrain-7b" in done.out and b" 12%" in done.out
        assert b"\x1b" not in done.out
    overview = json.loads((await penstock("top", "--once", "--json")).out)
    assert [node["node"] for node in overview["nodes"]] == [f"gpu-0{n}" for n in (1, 2, 3, 4)]
    assert overview["nodes"][0]["power_mw"] is None


async def test_without_a_mesh_it_says_so(real_mesh: FakeMesh, penstock: Penstock) -> None:
    done = await penstock("top", "--once")
    assert (done.code, b"inventory" in done.err) == (3, True)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
