"""What do the hosts of the demonstration month say about what ran on them?

Each host keeps its account as an agent does: usage segments of what runs, cumulative counters and
slices of every device, all closed at fixed times and sent together. Nothing here measures; power
and use follow from what runs. It does not know jobs beyond their leases, nor metering.
"""

from __future__ import annotations

from month_fleet import Kind, device_of

from penstock_contracts.nodes import Device, NodeDescription, NodeRegistered
from penstock_contracts.usage import DeviceCounter, DeviceSlice, Segment, UsageBatch

GPU_MILLI = 1_000


class Meter:
    """One device: energy (mJ = W·ms), use and running time since the boot, each up to `at_ms`."""

    def __init__(self, at_ms: int, idle_w: int) -> None:
        self.at_ms = self.cut_ms = at_ms
        self.power_w = idle_w
        self.busy_milli = self.running_milli = 0
        self.energy_mj = self.used_milli_ms = self.ran_milli_ms = 0
        self.cut_energy_mj = self.cut_used_milli_ms = self.slices = 0

    def pass_until(self, now_ms: int) -> None:
        passed_ms, self.at_ms = now_ms - self.at_ms, now_ms
        self.energy_mj += self.power_w * passed_ms
        self.used_milli_ms += self.busy_milli * passed_ms
        self.ran_milli_ms += self.running_milli * passed_ms


class Run:
    """A rank that runs: where its next segment begins, with what its devices had drawn by then."""

    def __init__(self, lease: Lease, now_ms: int) -> None:
        self.lease = lease
        self.cut_ms = now_ms
        self.segments = 0
        self.began: tuple[tuple[int, int], ...] = ()


class Lease:
    """What a host knows of a rank it was given."""

    def __init__(
        self, lease_seq: int, job_id: str, tenant: str, attempt: int, rank: int,
        devices: tuple[str, ...], busy_milli: int,
    ) -> None:  # fmt: skip
        self.key = lease_seq, job_id, rank
        self.tenant, self.attempt = tenant, attempt
        self.devices, self.busy_milli = devices, busy_milli


class Host:
    """`boot` counts its starts. `broken`: devices that are not to be used."""

    def __init__(self, name: str, kind: Kind, now_ms: int) -> None:
        self.name, self.kind = name, kind
        self.boot = 0
        self.broken: set[str] = set()
        self.devices = tuple(device_of(name, number) for number in range(kind.gpus))
        self.start(now_ms)

    def start(self, now_ms: int) -> None:
        """A new boot: counters begin anew, and nothing of before still runs."""
        self.boot += 1
        self.joined_ms = now_ms
        self.meters = {uuid: Meter(now_ms, self.kind.idle_w) for uuid in self.devices}
        self.runs: dict[tuple[int, str, int], Run] = {}
        self.batch = 0
        self._segments: list[Segment] = []
        self._slices: list[DeviceSlice] = []

    def describe(self) -> NodeRegistered:
        kind = self.kind
        devices = tuple(
            Device(
                uuid=uuid, index=index, model=kind.model, memory_mib=kind.memory_mib,
                healthy=uuid not in self.broken, link_domain=self.name,
            )
            for index, uuid in enumerate(self.devices)
        )  # fmt: skip
        return NodeRegistered(
            NodeDescription(
                node=self.name, boot_id=f"{self.name}-boot-{self.boot}", joined_ms=self.joined_ms,
                cpu_milli=16_000 * kind.gpus, memory_mib=131_072 * kind.gpus, devices=devices,
                labels={"site": kind.site},
            )
        )  # fmt: skip

    def begin(self, lease: Lease, now_ms: int) -> None:
        run = self.runs[lease.key] = Run(lease, now_ms)
        kind = self.kind
        for uuid in lease.devices:
            meter = self.meters[uuid]
            meter.pass_until(now_ms)
            meter.power_w = kind.idle_w + (kind.busy_w - kind.idle_w) * lease.busy_milli // 1_000
            meter.busy_milli, meter.running_milli = lease.busy_milli, GPU_MILLI
        run.began = self._state_of(run)

    def end(self, lease: Lease, now_ms: int) -> int:
        """Returns how many segments the lease has in all."""
        run = self.runs.pop(lease.key)
        self._cut_run(run, now_ms, last=True)
        for uuid in lease.devices:
            meter = self.meters[uuid]
            meter.power_w, meter.busy_milli, meter.running_milli = self.kind.idle_w, 0, 0
        return run.segments

    def cut_segments(self, now_ms: int) -> None:
        for run in self.runs.values():
            self._cut_run(run, now_ms, last=False)

    def cut_slices(self, now_ms: int) -> None:
        for uuid, meter in self.meters.items():
            meter.pass_until(now_ms)
            if now_ms > meter.cut_ms:
                self._slices.append(
                    DeviceSlice(
                        uuid=uuid, seq=meter.slices, t0_ms=meter.cut_ms, t1_ms=now_ms,
                        energy_mj=meter.energy_mj - meter.cut_energy_mj,
                        used_milli_ms=meter.used_milli_ms - meter.cut_used_milli_ms,
                    )
                )  # fmt: skip
                meter.slices += 1
                meter.cut_ms, meter.cut_energy_mj = now_ms, meter.energy_mj
                meter.cut_used_milli_ms = meter.used_milli_ms

    def send(self, now_ms: int) -> UsageBatch:
        """Everything owed, with counters up to now; segments and slices are cut by then."""
        self.batch += 1
        for meter in self.meters.values():
            meter.pass_until(now_ms)
        counters = tuple(
            DeviceCounter(uuid, self.joined_ms, now_ms, meter.ran_milli_ms)
            for uuid, meter in self.meters.items()
        )
        boot_id = f"{self.name}-boot-{self.boot}"
        segments, slices = tuple(self._segments), tuple(self._slices)
        self._segments, self._slices = [], []
        return UsageBatch(self.name, boot_id, self.batch, segments, counters, slices)

    def _cut_run(self, run: Run, now_ms: int, *, last: bool) -> None:
        lease = run.lease
        for uuid in lease.devices:
            self.meters[uuid].pass_until(now_ms)
        state = self._state_of(run)
        drawn = tuple(now[0] - then[0] for now, then in zip(state, run.began, strict=True))
        used = tuple(now[1] - then[1] for now, then in zip(state, run.began, strict=True))
        lease_seq, job_id, rank = lease.key
        self._segments.append(
            Segment(
                lease_seq=lease_seq, job_id=job_id, tenant=lease.tenant, attempt=lease.attempt,
                rank=rank, seq=run.segments, t0_ms=run.cut_ms, t1_ms=now_ms,
                devices=lease.devices, cpu_milli=4_000 * len(lease.devices), last=last,
                energy_mj=sum(drawn), device_energy_mj=drawn, used_milli_ms=used,
            )
        )  # fmt: skip
        run.segments += 1
        run.cut_ms, run.began = now_ms, state

    def _state_of(self, run: Run) -> tuple[tuple[int, int], ...]:
        meters = (self.meters[uuid] for uuid in run.lease.devices)
        return tuple((meter.energy_mj, meter.used_milli_ms) for meter in meters)
