"""Which work do a sample and the metrics attribute a device's use to?"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from agent.builders import a_node, an_order, ordered
from agent.nvml_host import NvmlHost
from penstock_contracts.bounds import DEVICES_PER_NODE_MAX
from penstock_contracts.ids import ulid
from penstock_contracts.leases import LeaseOrder
from penstock_contracts.samples import NodeSample, WorkSample
from penstock_contracts.streams import LOG_MESSAGE_BYTES_MAX
from penstock_node_agent.core import events
from penstock_node_agent.core.machine import handle
from penstock_node_agent.devices.dcgm import metrics_of
from penstock_node_agent.devices.owners import ProcessOwners
from penstock_node_agent.devices.readings import Sampler, Work, work_of
from penstock_node_agent.drivers.port import DriverSilent, ProcessReading, Reading
from penstock_node_agent.host import nobodys
from penstock_runtime.metrics import Metric, Metrics

NOW_MS = 1_700_000_000_000
KNOWN = """
GPU_UTIL MEM_COPY_UTIL FB_USED FB_FREE FB_RESERVED GPU_TEMP MEMORY_TEMP SM_CLOCK MEM_CLOCK
POWER_USAGE TOTAL_ENERGY_CONSUMPTION PCIE_REPLAY_COUNTER ECC_DBE_VOL_TOTAL
UNCORRECTABLE_REMAPPED_ROWS CORRECTABLE_REMAPPED_ROWS ROW_REMAP_PENDING ROW_REMAP_FAILURE
"""


class PublishedBus:
    """Notes what is published; nothing else is expected of it."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes]] = []

    def publish_nowait(self, subject: str, payload: bytes) -> None:
        self.published.append((subject, payload))


class Driver:
    """`readings`: what it says; None = it is silent."""

    def __init__(self, *readings: Reading) -> None:
        self.readings: tuple[Reading, ...] | None = readings

    def sample(self) -> tuple[Reading, ...]:
        if self.readings is None:
            raise DriverSilent("as a test wants it")
        return self.readings


class Sampling:
    """A sampler over a scripted driver, and what it publishes. `owners`: lease key per process."""

    def __init__(self, *readings: Reading, owners: dict[int, str] | None = None) -> None:
        self.bus, self.driver = PublishedBus(), Driver(*readings)
        self.orders: dict[str, LeaseOrder] = {}
        self.told: list[events.DevicesRead] = []
        host: Any = SimpleNamespace(
            driver=self.driver,
            clock=SimpleNamespace(now_ns=lambda: NOW_MS * 1_000_000, boottime_ns=lambda: 5),
            owners_of=nobodys if owners is None else lambda pids, key_of_slot: owners,
        )
        bus: Any = self.bus
        works = lambda: Work(self.orders, {})  # noqa: E731
        self.sampler = Sampler(bus, host, "n1", 0.001, works, self.told.append)

    async def first(self, eventually: Any) -> NodeSample:
        task = asyncio.ensure_future(self.sampler.keep())
        await eventually(lambda: self.bus.published)
        task.cancel()
        subject, payload = self.bus.published[0]
        assert subject == "penstock.v1.node.n1.sample"
        return msgspec.json.decode(payload, type=NodeSample)

    def metrics(self) -> dict[str, Metric]:
        return {metric.name: metric for metric in self.sampler.metrics()}


def a_reading(*processes: ProcessReading, **values: Any) -> Reading:
    return Reading(uuid="GPU-0", index=0, model="H100", processes=processes, **values)


@pytest.mark.lesson(24)
async def test_zero_is_told_and_unknown_is_left_out(eventually: Any) -> None:
    sampling = Sampling(a_reading(utilisation_percent=0, power_mw=71_500))
    sample = await sampling.first(eventually)
    assert (sample.node, sample.at_ms, sample.every_ms) == ("n1", NOW_MS, 1)
    (device,) = sample.devices
    assert (device.utilisation_percent, device.power_mw, device.energy_mj) == (0, 71_500, None)
    assert b"energy" not in sampling.bus.published[0][1]
    power, energy = (f"DCGM_FI_DEV_{name}" for name in ("POWER_USAGE", "TOTAL_ENERGY_CONSUMPTION"))
    metrics = sampling.metrics()
    assert (metrics[power].value, metrics[energy].value) == (71.5, None)


async def test_processes_count_for_the_lease_that_they_belong_to(eventually: Any) -> None:
    ours = an_order(devices=("GPU-0",))
    owners = {1: ours.key, 2: ours.key, 3: "99/of-another-agent/0", 4: ""}
    sampling = Sampling(
        a_reading(
            ProcessReading(pid=1, memory_mib=100, utilisation_percent=30),
            ProcessReading(pid=2, memory_mib=11),
            ProcessReading(pid=3, memory_mib=5),
            ProcessReading(pid=4),
        ),
        owners=owners,
    )
    sampling.orders[ours.key] = ours
    (device,) = (await sampling.first(eventually)).devices
    assert device.work == (
        WorkSample(processes=2, memory_mib=5),
        WorkSample(
            job_id=ours.job_id,
            lease_seq=ours.lease_seq,
            rank=ours.rank,
            processes=2,
            memory_mib=111,
            utilisation_percent=30,
        ),
    )


async def test_a_sample_of_as_many_devices_as_a_node_may_have_fits_one_message(
    eventually: Any,
) -> None:
    orders = [an_order(job_id=ulid(NOW_MS, number), lease_seq=10**12) for number in range(100)]
    owners = {pid: order.key for pid, order in enumerate(orders)}
    processes = tuple(
        ProcessReading(pid=pid, memory_mib=10**6, utilisation_percent=100) for pid in owners
    )
    measured = {
        field: 10**9
        for field in Reading.__struct_fields__
        if field.endswith(("_percent", "_mib", "_c", "_mw", "_mj", "_mhz", "_kb_s"))
    }
    devices = (
        Reading(
            uuid=f"MIG-{index:036}",
            index=index,
            model="H100-1g.10gb+me",
            parent=f"GPU-{index:036}",
            processes=processes,
            **measured,
        )
        for index in range(DEVICES_PER_NODE_MAX)
    )
    sampling = Sampling(*devices, owners=owners)
    sampling.orders |= {order.key: order for order in orders}
    sample = await sampling.first(eventually)
    assert len(sampling.bus.published[0][1]) <= LOG_MESSAGE_BYTES_MAX
    assert all(device.work for device in sample.devices)


async def test_a_silent_driver_leaves_no_old_readings(eventually: Any) -> None:
    sampling = Sampling(a_reading(power_mw=1))
    await sampling.first(eventually)
    assert sampling.metrics()
    sampling.driver.readings = None
    task = asyncio.ensure_future(sampling.sampler.keep())
    await eventually(lambda: not sampling.metrics())
    task.cancel()


def test_metrics_have_the_names_and_labels_that_dashboards_for_dcgm_ask_for(
    nvml_host: NvmlHost,
) -> None:
    nvml_host.gpu(1).cut("1g.10gb")
    order = an_order(devices=(nvml_host.uuid(0),))
    readings = nvml_host.driver().sample()
    page = Metrics()
    page.add(lambda: metrics_of(readings, "n1", {nvml_host.uuid(0): order}))
    text = page.render().decode()
    assert (
        'DCGM_FI_DEV_FB_FREE{DCGM_FI_DRIVER_VERSION="580.159.03",GPU_I_ID="",GPU_I_PROFILE="",'
        f'Hostname="n1",UUID="{nvml_host.uuid(0)}",device="nvidia0",gpu="0",'
        f'hpc_job="{order.job_id}",modelName="NVIDIA H100 80GB HBM3",'
        f'pci_bus_id="00000000:1B:00.0",tenant="{order.tenant}"}} 81079.0\n'
    ) in text
    assert (
        'DCGM_FI_DEV_FB_FREE{DCGM_FI_DRIVER_VERSION="580.159.03",GPU_I_ID="7",'
        f'GPU_I_PROFILE="1g.10gb",Hostname="n1",UUID="{nvml_host.uuid(1)}"'
    ) in text
    names = {line.split("{")[0] for line in text.splitlines() if line.startswith("DCGM")}
    assert names == {f"DCGM_FI_DEV_{name}" for name in KNOWN.split()}, (
        "no PCIe rate in the first sample, no XID while nobody listens"
    )


def test_a_device_is_labelled_with_its_job_only_where_it_has_one() -> None:
    state = a_node()
    alone, first, second = (
        an_order(devices=("D0",)),
        an_order(devices=("D1",), gpu_milli=500),
        an_order(devices=("D1",), gpu_milli=500),
    )
    handle(state, ordered(alone, first, second))
    assert work_of(state).alone() == {}, "nothing runs yet"
    for order in (alone, first, second):
        handle(state, events.Began(at_ns=20_000_000_000, key=order.key))
    work = work_of(state)
    assert work.alone() == {"D0": alone}
    slot = state.leases[second.key].slot
    assert slot is not None
    assert work.key_of_slot(slot) == second.key
    assert work.key_of_slot(99) == ""


@pytest.fixture
def a_process() -> Iterator[Any]:
    """`a_process(environment, code)`: a Python process of its own, ended with the test."""
    made: list[subprocess.Popen[bytes]] = []

    def make(environment: dict[str, str], code: str = "") -> int:
        code = f"{code}\nprint(flush=True)\nimport time\ntime.sleep(60)"
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env={"PATH": os.environ["PATH"], **environment},
            stdout=subprocess.PIPE,
        )
        made.append(process)
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        return int(line) if line else process.pid

    yield make
    for process in made:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


FORK = """
import os
read, write = os.pipe()
pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
print(pid)
"""


def test_a_process_is_known_by_its_mark_or_its_lease(a_process: Any) -> None:
    owners = ProcessOwners("/state", "abc")
    marked = a_process({"PENSTOCK_REAPER": "/state:7/J/0"})
    of_another = a_process({"PENSTOCK_REAPER": "/other:7/J/0", "PENSTOCK_LEASE": "7/J/0"})
    contained = a_process({"PENSTOCK_LEASE": "8/J/1"})
    stranger = a_process({})
    found = owners.owners_of((marked, of_another, contained, stranger, 2**22), str)
    assert found == {marked: "7/J/0", of_another: "", contained: "8/J/1", stranger: "", 2**22: ""}


def test_a_process_that_has_cleared_its_environment_belongs_to_whom_its_parent_does(
    a_process: Any,
) -> None:
    child = a_process({"PENSTOCK_REAPER": "/state:7/J/0"}, FORK)
    assert ProcessOwners("/state", "abc").owners_of((child,), str) == {child: "7/J/0"}
    os.kill(child, 9)


def test_a_control_group_of_ours_says_more_than_an_environment(tmp_path: Path) -> None:
    process(tmp_path, 5, "0::/penstock-abc/plain/slot-3/deep\n", b"PENSTOCK_LEASE=9/J/0\0")
    process(tmp_path, 6, "0::/penstock-other/plain/slot-3\n", b"")
    asked: list[int] = []

    def key_of_slot(slot: int) -> str:
        asked.append(slot)
        return "7/J/0"

    owners = ProcessOwners("/state", "abc", tmp_path)
    assert owners.owners_of((5, 6), key_of_slot) == {5: "7/J/0", 6: ""}
    assert owners.owners_of((5,), key_of_slot) == {5: "7/J/0"}
    assert asked == [3], "what is known is not looked for again"
    process(tmp_path, 5, "0::/\n", b"", started=2)
    assert owners.owners_of((5,), key_of_slot) == {5: ""}, "another process has its number"


def process(proc: Path, pid: int, cgroup: str, environ: bytes, *, started: int = 1) -> None:
    """One in a directory like /proc."""
    (proc / str(pid)).mkdir(exist_ok=True)
    (proc / str(pid) / "cgroup").write_text(cgroup)
    (proc / str(pid) / "environ").write_bytes(environ)
    fields: Sequence[object] = ("S", 1, *(0,) * 17, started, 0)
    (proc / str(pid) / "stat").write_text(f"{pid} (a (b) c) {' '.join(map(str, fields))}")
