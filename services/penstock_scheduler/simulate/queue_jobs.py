"""Which jobs are put through the queue, on which nodes?

Two formats: Microsoft's Philly trace, of which each virtual cluster is a fleet of its own, and what
a mesh says of its own jobs and nodes. It does not know what becomes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from penstock_contracts.ids import ulid
from penstock_contracts.jobs import JobSpec
from penstock_contracts.nodes import Device, NodeDescription, NodeView
from penstock_contracts.queries import JobView
from penstock_scheduler.simulate.tables import BadTable, Row, rows, shown

PHILLY_JOBS = ("timestamp", "duration", "num_gpus", "cluster")
PHILLY_NODES = ("vc", "node num")
PHILLY_GPUS = 8
PHILLY_MODEL = "GPU"
NODES_MAX = 100_000
GPUS_MAX = 8_000
DURATION_S_MAX = 10 * 366 * 86_400
FILE_BYTES_MAX = 1 << 30
BEGIN_MS = 1_500_000_000_000
"""Jobs of a trace are as if submitted from then on."""
CORES_PER_GPU = 16
T = TypeVar("T")


class TraceJob(NamedTuple):
    """A job as it is submitted `arrival_ms` after the first one, and for how long it works."""

    spec: JobSpec
    tenant: str
    arrival_ms: int
    duration_ms: int

    @property
    def gpu_milli(self) -> int:
        return self.spec.ranks * self.spec.gpus * self.spec.gpu_milli


class Fleet(NamedTuple):
    """Nodes, and who comes to them, by arrival."""

    name: str
    nodes: tuple[NodeDescription, ...]
    jobs: tuple[TraceJob, ...]


def philly_fleets(
    jobs: Path, nodes: Path, scale: float, *, on_nodes: bool
) -> tuple[list[Fleet], int]:
    """A fleet for each virtual cluster, and how many jobs belong to none or are larger than theirs.
    `scale`: of each cluster so much, in whole nodes. Unless `on_nodes`, GPUs are only counted: each
    of a job's GPUs may be anywhere. Raises BadTable."""
    clusters = _philly_clusters(nodes, scale)
    found: dict[str, list[tuple[int, int, int, int]]] = {name: [] for name in clusters}
    left_out = 0
    for number, row in enumerate(rows(jobs, PHILLY_JOBS)):
        cluster, gpus = row.name("cluster"), row.size("num_gpus", most=GPUS_MAX)
        came_ms, took_ms = _instant_ms(row), _duration_ms(row)
        if gpus > clusters.get(cluster, 0) * PHILLY_GPUS or cluster not in clusters:
            left_out += 1
            continue
        found[cluster].append((came_ms, number, gpus, took_ms))
    first_ms = min((one[0] for mine in found.values() for one in mine), default=0)
    shape = _on_nodes if on_nodes else _anywhere
    fleets = []
    for name, mine in found.items():
        if not mine:
            continue
        fleet = tuple(_philly_node(name, number) for number in range(clusters[name]))
        trace = tuple(
            TraceJob(shape(_ulid(came_ms - first_ms, number), gpus), name, came_ms - first_ms, took)
            for came_ms, number, gpus, took in sorted(mine)
        )
        fleets.append(Fleet(name, fleet, trace))
    if not fleets:
        raise BadTable("bad_value", f"{jobs}: no job fits a cluster of {nodes}", "cluster")
    return fleets, left_out


def mesh_fleet(jobs: Path, nodes: Path) -> tuple[Fleet, int]:
    """What `penstock jobs --json` and `penstock nodes --json` have printed, and how many of the
    jobs never ran to an end, so that nobody knows how long they take. Raises BadTable."""
    views = _decoded(jobs, JobView, list[JobView])
    fleet = tuple(described(one) for one in _decoded(nodes, NodeView, list[NodeView]))
    return history(views, fleet, str(jobs))


def history(
    views: Sequence[JobView], fleet: tuple[NodeDescription, ...], said: str
) -> tuple[Fleet, int]:
    """The jobs of a mesh as they came. Raises BadTable when none has run to its end."""
    ended = sorted(
        (one for one in views if one.started_ms is not None and one.finished_ms is not None),
        key=lambda one: (one.submitted_ms, one.job_id),
    )
    if not ended or not fleet:
        what = "no node" if ended else "no job has run to its end"
        raise BadTable("empty_table", f"{said}: {what}")
    first_ms = ended[0].submitted_ms
    trace = []
    for number, one in enumerate(ended):
        came_ms = one.submitted_ms - first_ms
        deadline_ms = one.spec.deadline_ms
        if deadline_ms is not None:
            deadline_ms = max(0, deadline_ms - first_ms + BEGIN_MS)
        spec = msgspec.structs.replace(
            one.spec, job_id=_ulid(came_ms, number), deadline_ms=deadline_ms
        )
        took_ms = max(0, (one.finished_ms or 0) - (one.started_ms or 0))
        trace.append(TraceJob(spec, one.tenant, came_ms, took_ms))
    return Fleet("mesh", fleet, tuple(trace)), len(views) - len(ended)


def described(view: NodeView) -> NodeDescription:
    """A node as it would describe itself, with the devices that are well."""
    node = view.description
    devices = tuple(one for one in node.devices if one.healthy)
    return msgspec.structs.replace(node, devices=devices, facts={})


def more_nodes(
    like: Sequence[NodeDescription], count: int, model: str
) -> tuple[NodeDescription, ...]:
    """As many nodes as have `count` more GPUs of the model, like the first node that has some; of a
    model that is new, like the first node with GPUs. The last one may have fewer."""
    with_gpus = [node for node in like if node.devices]
    same = [node for node in with_gpus if node.devices[0].model == model]
    found: list[NodeDescription] = []
    pattern = (same or with_gpus or list(like))[0]
    each = max(1, len(pattern.devices))
    for number in range(-(-count // each)):
        name = f"more-{model.lower()}-{number}"
        gpus = min(each, count - number * each)
        devices = tuple(Device(uuid=f"{name}-{i}", index=i, model=model) for i in range(gpus))
        found.append(msgspec.structs.replace(pattern, node=name, devices=devices))
    return tuple(found)


def _philly_clusters(path: Path, scale: float) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows(path, PHILLY_NODES):
        name = row.name("vc")
        if name in found:
            raise row.problem("vc", f"{shown(name)} is there twice")
        count = int(row.size("node num", most=NODES_MAX) * scale)
        if count:
            found[name] = count
    if sum(found.values()) > NODES_MAX:
        raise BadTable("bad_value", f"{path}: more than {NODES_MAX} nodes", "node num")
    return found


def _philly_node(cluster: str, number: int) -> NodeDescription:
    name = f"{cluster}-{number:04}"
    devices = tuple(
        Device(uuid=f"{name}-{index}", index=index, model=PHILLY_MODEL)
        for index in range(PHILLY_GPUS)
    )
    return NodeDescription(
        node=name,
        boot_id="simulated",
        joined_ms=0,
        cpu_milli=PHILLY_GPUS * CORES_PER_GPU * 1000,
        memory_mib=1 << 20,
        devices=devices,
    )


def _anywhere(job_id: str, gpus: int) -> JobSpec:
    return JobSpec(job_id=job_id, command=("trace",), ranks=max(1, gpus), gpus=min(1, gpus))


def _on_nodes(job_id: str, gpus: int) -> JobSpec:
    """On one node if one has so many, else on several, each with as many as the others."""
    ranks = max(1, -(-gpus // PHILLY_GPUS))
    while gpus % ranks:
        ranks += 1
    return JobSpec(job_id=job_id, command=("trace",), ranks=ranks, gpus=gpus // ranks)


def _ulid(came_ms: int, number: int) -> str:
    return ulid(BEGIN_MS + came_ms, number)


def _instant_ms(row: Row) -> int:
    text = row.name("timestamp")
    try:
        return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        said = f"{shown(text)} is no time like 2017-10-09 07:01:55"
        raise row.problem("timestamp", said) from error


def _duration_ms(row: Row) -> int:
    text = row.name("duration")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= DURATION_S_MAX:
        said = f"{shown(text)} is no number of seconds between 0 and {DURATION_S_MAX}"
        raise row.problem("duration", said)
    return round(seconds * 1000)


def _decoded(path: Path, kind: type[T], kinds: type[list[T]]) -> list[T]:
    """A JSON array of them, or one on each line."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise BadTable("line_too_long", f"{path}: is larger than {FILE_BYTES_MAX} bytes")
        data = path.read_bytes()
    except OSError as error:
        said = f"{path}: cannot be read: {error.strerror}"
        raise BadTable("unreadable_file", said) from error
    try:
        if data.lstrip()[:1] == b"[":
            return msgspec.json.decode(data, type=kinds)
        return msgspec.json.Decoder(kind).decode_lines(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadTable("bad_value", f"{path}: {error}") from error
