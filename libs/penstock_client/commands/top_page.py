"""How does an overview of the mesh fit on a page of so many columns and lines?

Lines of styled pieces of text, without escape sequences. It does not know terminals, nor how the
overview is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from penstock_client.commands.layout import (
    BAD,
    BOLD,
    DIM,
    GAP,
    GOOD,
    HEAD,
    PLAIN,
    WARM,
    Column,
    Line,
    Piece,
    fitted,
    padded,
    shortened,
    table_of,
    width_of,
)
from penstock_client.durations import format_duration
from penstock_client.overview import (
    ALIVE,
    AWAY,
    FREE,
    SICK,
    USED,
    WORKING,
    DeviceNow,
    JobNow,
    NodeNow,
    Overview,
)

NOT_KNOWN = "–"
CELL = 5
"""Of a device in its host's line."""
CELLS_MIN = 4
BUSY_PERCENT = 50
HOSTS, DEVICES = "hosts", "devices"


class Page(NamedTuple):
    """`head` stays where it is when the rest is scrolled."""

    head: list[Line]
    body: list[Line]


def page_of(overview: Overview, view: str, columns: int) -> Page:
    """All of it, no line longer than `columns`; whoever shows it cuts it to the lines there are."""
    head = [_summary(overview, columns)]
    if overview.silent:
        silent = ", ".join(overview.silent)
        head.append((Piece(shortened(f"no answer from {silent}: older facts", columns), BAD),))
    if view == DEVICES:
        heading, *rows = _devices(overview, columns)
        return Page([*head, (), heading], rows)
    return Page(head, [(), *_hosts(overview.nodes, columns), (), *_jobs(overview, columns)])


def _summary(overview: Overview, columns: int) -> Line:
    devices = list(overview.devices())
    count = dict.fromkeys((USED, FREE, SICK, AWAY), 0)
    for device in devices:
        count[device.state] += 1
    working = sum(job.state in WORKING for job in overview.jobs)
    waiting = len(overview.jobs) - working
    watts = [node.power_mw for node in overview.nodes if node.power_mw is not None]
    parts = [
        Piece(f"{len(overview.nodes)} hosts  ", BOLD),
        Piece(f"{len(devices)} GPUs: ", BOLD),
        Piece(f"{count[USED]} used", GOOD if count[USED] else DIM),
        Piece(f", {count[FREE]} free"),
    ]
    if count[SICK]:
        parts += [Piece(", "), Piece(f"{count[SICK]} sick", BAD)]
    if count[AWAY]:
        parts += [Piece(", "), Piece(f"{count[AWAY]} away", BAD)]
    parts.append(Piece(f"  {working} running, {waiting}{'+' if overview.more else ''} waiting"))
    if watts:
        parts.append(Piece(f"  {sum(watts) / 1e6:.1f} kW"))
    return fitted(parts, columns)


# -- hosts -----------------------------------------------------------------------------------------
def _hosts(nodes: Sequence[NodeNow], columns: int) -> list[Line]:
    name = width_of((node.node for node in nodes), 4, 18)
    state = width_of((_state_of(node)[0] for node in nodes), 5, 9)
    model = width_of((_model(node) for node in nodes), 5, 13)
    power = 7
    room = columns - name - state - model - power - 3 * GAP
    most = max((len(node.devices) for node in nodes), default=0)
    cells = max(CELLS_MIN, min(room // CELL, most))
    heading = "".join(f"{place:>{CELL}}" for place in range(cells))
    lines: list[Line] = [
        fitted(
            (
                Piece(padded("HOST", name), HEAD),
                Piece(padded("STATE", state), HEAD),
                Piece(padded("MODEL", model), HEAD),
                Piece(heading, HEAD),
                Piece(f"{'POWER':>{power}}", HEAD),
            ),
            columns,
        )
    ]
    for node in nodes:
        word, style = _state_of(node)
        pieces = [
            Piece(padded(node.node, name), BOLD),
            Piece(padded(word, state), style),
            Piece(padded(_model(node), model)),
        ]
        for begin in range(0, max(len(node.devices), 1), cells):
            some = node.devices[begin : begin + cells]
            pieces += [_cell(device) for device in some]
            if begin == 0:
                pieces.append(Piece(" " * CELL * (cells - len(some))))
                pieces.append(Piece(f"{_watts(node.power_mw):>{power}}"))
            lines.append(fitted(pieces, columns))
            pieces = [Piece(" " * (name + state + model + 3 * GAP))]
    return lines


def _state_of(node: NodeNow) -> tuple[str, str]:
    if node.liveness != ALIVE:
        return node.liveness, BAD
    if node.draining or node.cordoned:
        return "draining" if node.draining else "cordoned", WARM
    return ALIVE, GOOD


def _model(node: NodeNow) -> str:
    others = f"+{len(node.models) - 1}" if len(node.models) > 1 else ""
    return f"{node.models[0]}{others}" if node.models else NOT_KNOWN


def _cell(device: DeviceNow) -> Piece:
    if device.state in (SICK, AWAY):
        return Piece(f"{device.state:>{CELL}}", BAD if device.state == SICK else DIM)
    if device.utilisation_percent is None or (device.state == FREE and not _is_busy(device)):
        return Piece(f"{device.state:>{CELL}}", GOOD if device.state == USED else DIM)
    return Piece(f"{device.utilisation_percent:>{CELL - 1}}%", _busy_style(device))


def _is_busy(device: DeviceNow) -> bool:
    return bool(device.utilisation_percent)


def _busy_style(device: DeviceNow) -> str:
    """What is used by nobody of ours, and what is held without being used, should be seen."""
    if device.state == FREE:
        return BAD if _is_busy(device) else DIM
    return GOOD if (device.utilisation_percent or 0) >= BUSY_PERCENT else WARM


# -- devices ---------------------------------------------------------------------------------------
def _devices(overview: Overview, columns: int) -> list[Line]:
    devices = list(overview.devices())
    names = {job.job_id: job.name for job in overview.jobs}
    bar = 8 if columns >= 100 else 0
    table = (
        Column("HOST", width_of((device.node for device in devices), 4, 18)),
        Column("GPU", 3, right=True),
        Column("MODEL", width_of((device.model for device in devices), 5, 13)),
        *((Column("", bar),) if bar else ()),
        Column("UTIL", 4, right=True),
        Column("GIB USED/ALL", 12, right=True),
        Column("POWER", 6, right=True),
        Column("°C", 3, right=True),
        Column("JOB", 0),
    )

    def row(device: DeviceNow) -> tuple[Piece, ...]:
        percent = device.utilisation_percent
        style = _busy_style(device) if percent is not None and device.state != SICK else PLAIN
        hot = bool(device.throttled and "temperature" in device.throttled)
        return (
            Piece(device.node, BOLD),
            Piece(str(device.index)),
            Piece(device.model),
            *((Piece(_bar(percent, bar), style),) if bar else ()),
            Piece(_percent(percent), style),
            Piece(f"{_gib(device.memory_used_mib)}/{_gib(device.memory_mib)}"),
            Piece(_watts(device.power_mw)),
            Piece(_number(device.temperature_c), BAD if hot else PLAIN),
            _holder(device, names),
        )

    return table_of(table, devices, row, columns, "there are no devices")


def _holder(device: DeviceNow, names: Mapping[str, str]) -> Piece:
    """Names before ids: where there is little room, they say more."""
    if device.state == SICK:
        return Piece(f"sick: {device.health}", BAD)
    if len(device.jobs) == 1:
        return Piece(f"{names.get(device.jobs[0], NOT_KNOWN)}  {device.jobs[0]}")
    if device.jobs:
        return Piece(", ".join(names.get(job_id, job_id) for job_id in device.jobs))
    return Piece(device.state, DIM)


# -- jobs ------------------------------------------------------------------------------------------
def _jobs(overview: Overview, columns: int) -> list[Line]:
    wide = columns >= 110
    table = (
        Column("JOB", 26),
        *((Column("TENANT", 12),) if wide else ()),
        Column("NAME", 0),
        Column("STATE", 8),
        Column("GPUS", 4, right=True),
        Column("UTIL", 4, right=True),
        Column("GIB", 5, right=True),
        *((Column("POWER", 7, right=True), Column("WHERE", 16)) if wide else ()),
        Column("FOR", 7, right=True),
    )

    def row(job: JobNow) -> tuple[Piece, ...]:
        works = job.state in WORKING
        percent = job.utilisation_percent
        style = GOOD if percent is not None and percent >= BUSY_PERCENT else WARM
        since = job.started_ms if works and job.started_ms is not None else job.submitted_ms
        return (
            Piece(job.job_id, PLAIN if works else DIM),
            *((Piece(job.tenant),) if wide else ()),
            Piece(job.name, PLAIN if works else DIM),
            Piece(job.state, GOOD if works else WARM),
            Piece(f"{job.gpu_milli / 1000:g}"),
            Piece(_percent(percent), style if percent is not None else PLAIN),
            Piece(_gib(job.memory_mib)),
            *((Piece(_watts(job.power_mw)), Piece(_places(job.nodes))) if wide else ()),
            Piece(format_duration(max(0, overview.at_ms - since))),
        )

    return table_of(table, overview.jobs, row, columns, "no job runs or waits")


def _places(nodes: tuple[str, ...]) -> str:
    if not nodes:
        return NOT_KNOWN
    return nodes[0] if len(nodes) == 1 else f"{nodes[0]} +{len(nodes) - 1}"


# -- numbers ---------------------------------------------------------------------------------------
def _percent(value: int | None) -> str:
    return NOT_KNOWN if value is None else f"{value}%"


def _number(value: int | None) -> str:
    return NOT_KNOWN if value is None else str(value)


def _watts(milliwatts: int | None) -> str:
    if milliwatts is None:
        return NOT_KNOWN
    watts = milliwatts / 1000
    return f"{watts:.0f} W" if watts < 10_000 else f"{watts / 1000:.1f} kW"


def _gib(mib: int | None) -> str:
    if mib is None:
        return NOT_KNOWN
    gib = mib / 1024
    return f"{gib:.1f}" if gib < 100 else f"{gib:.0f}"


def _bar(percent: int | None, width: int) -> str:
    if percent is None:
        return ""
    eighths = round(min(percent, 100) * width * 8 / 100)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (" ▏▎▍▌▋▊▉"[rest] if rest else ""))[:width]
