"""What do the nodes and jobs of a trace ask and offer?

Tables in the columns of the OpenB trace, checked and turned into the core's shapes. It does not
know when a job arrives in a simulation.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from penstock_scheduler.core.packing.fleet import NodeRoom, empty_node
from penstock_scheduler.core.packing.layout import DEVICES_MAX, MILLI
from penstock_scheduler.core.packing.shapes import PackShape, RowKey
from penstock_scheduler.core.packing.workload import count_shapes
from penstock_scheduler.simulate.tables import BadTable, Row, rows, shown

NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
JOB_COLUMNS = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
TIME_COLUMNS = ("creation_time", "deletion_time")
NODES_MAX = 200_000
SPEC_SEPARATOR = "|"


class Nodes(NamedTuple):
    """A fleet: rooms and devices by name and model, and milli-GPU in all."""

    rooms: dict[str, NodeRoom]
    models: dict[str, int]
    capacity_milli: int


class Timed(NamedTuple):
    """A job that comes at `arrival_s` and, once placed, stays for `duration_s`."""

    name: str
    shape: PackShape
    arrival_s: int
    duration_s: int


def read_nodes(path: Path) -> Nodes:
    """Every node, empty. Raises BadTable."""
    found: dict[str, NodeRoom] = {}
    models: dict[str, int] = {}
    devices = 0
    for row in rows(path, NODE_COLUMNS):
        name = row.name("sn")
        if name in found:
            raise row.problem("sn", f"{shown(name)} is there twice")
        if len(found) >= NODES_MAX:
            raise row.problem("sn", f"more than {NODES_MAX} nodes")
        count = row.size("gpu", most=DEVICES_MAX)
        model = row.name("model") if count else ""
        kinds = [(model, row.size_or_none("gpu_memory_mib"))] * count
        found[name] = empty_node(row.size("cpu_milli"), row.size("memory_mib"), kinds)
        devices += count
        if count:
            models[model] = models.get(model, 0) + count
    if not devices:
        sentence = f"{path}, line 2, column gpu: no node has a device"
        raise BadTable("bad_value", sentence, "gpu")
    return Nodes(found, models, devices * MILLI)


def read_jobs(path: Path, nodes: Nodes) -> list[PackShape]:
    """The shape of every job, in the file's order. Raises BadTable."""
    known: dict[PackShape, PackShape] = {}
    found = []
    for row in rows(path, JOB_COLUMNS):
        shape = _shape(row, nodes)
        found.append(known.setdefault(shape, shape))
    _refuse_without_devices(path, found)
    return found


def read_workload(path: Path) -> Counter[RowKey]:
    """How often each shape is asked for, whatever nodes there are. Raises BadTable."""
    found = count_shapes(_shape(row, None) for row in rows(path, JOB_COLUMNS))
    if not any(key.gpus for key in found):
        _refuse_without_devices(path, [])
    return found


def read_timed_jobs(path: Path, nodes: Nodes) -> list[Timed]:
    """Every job with its times, by arrival. Raises BadTable."""
    known: dict[PackShape, PackShape] = {}
    found = []
    for row in rows(path, JOB_COLUMNS + TIME_COLUMNS):
        shape = _shape(row, nodes)
        arrival_s = row.size("creation_time")
        end_s = row.size("deletion_time")
        start_s = arrival_s if not row.text("scheduled_time") else row.size("scheduled_time")
        if end_s < arrival_s:
            raise row.problem("deletion_time", f"{end_s} is before creation_time, {arrival_s}")
        duration_s = end_s - min(max(start_s, arrival_s), end_s)
        found.append(Timed(row.text("name"), known.setdefault(shape, shape), arrival_s, duration_s))
    _refuse_without_devices(path, [job.shape for job in found])
    return sorted(found, key=lambda job: job.arrival_s)


def _refuse_without_devices(path: Path, shapes: list[PackShape]) -> None:
    if not any(shape.gpus for shape in shapes):
        sentence = f"{path}, line 2, column num_gpu: no job asks for a device"
        raise BadTable("bad_value", sentence, "num_gpu")


def _shape(row: Row, nodes: Nodes | None) -> PackShape:
    gpus = row.size("num_gpu")
    milli = row.size("gpu_milli", most=MILLI)
    if gpus and not milli:
        raise row.problem("gpu_milli", "is 0, but num_gpu is not")
    if gpus > 1 and milli < MILLI:
        raise row.problem("gpu_milli", f"{milli} is a share, which only one device can give")
    return PackShape(
        row.size("cpu_milli"),
        row.size("memory_mib"),
        gpus,
        milli if gpus else 0,
        row.size_or_none("gpu_memory_mib") if gpus else None,
        _models(row, nodes) if gpus else (),
    )


def _models(row: Row, nodes: Nodes | None) -> tuple[str, ...]:
    """The models a job may use. One that no node has is fine beside one that some node has."""
    asked = tuple(
        sorted({one.strip() for one in row.text("gpu_spec").split(SPEC_SEPARATOR)} - {""})
    )
    if nodes is not None and asked and not any(model in nodes.models for model in asked):
        raise row.problem("gpu_spec", f"no node has the model {shown(SPEC_SEPARATOR.join(asked))}")
    return asked
