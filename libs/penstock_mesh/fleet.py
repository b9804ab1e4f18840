"""Which nodes does `penstock up` run?

This host's own node and the simulated ones: their names, drivers, port ranges and directories. It
starts nothing.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec

from penstock_contracts.ids import is_token
from penstock_mesh.ports import PORTS_PER_NODE, node_port_ranges

SIMULATE_FORM = re.compile(r"([0-9]{1,4})x([0-9]{1,4})x([^:]+)(?::(.+))?")
WORD_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
MODEL_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,39}")
NODES_MAX = 300
"""Agents of one `penstock up`: each is a process, with a port range of its own."""
DEVICES_PER_NODE_MAX = 64
LOCAL_NODE_FALLBACK = "local"
NAME_LENGTH_MAX = 63


class FleetError(ValueError):
    """The asked-for fleet cannot be. The sentence names the wrong part."""


class SimulatedGroup(msgspec.Struct, frozen=True):
    """What one `--simulate NxGxMODEL:KEY=VALUE,...` asks for.

    `labels` of every node; `racks`: the nodes stand in so many racks, one after the other; `links`:
    devices per link domain, None = all of a node; `link`: a domain in which all nodes' devices are.
    """

    nodes: int
    devices: int
    model: str
    labels: dict[str, str] = {}
    racks: int = 0
    links: int | None = None
    link: str = ""

    def labels_of(self, number: int) -> dict[str, str]:
        """Of the node with that number, from 0."""
        if not self.racks:
            return self.labels
        return {**self.labels, "rack": f"r{number * self.racks // self.nodes + 1}"}

    @property
    def driver(self) -> str:
        """The agent's setting."""
        linked = f"@{self.link}" if self.link else f"/{self.links}" if self.links else ""
        return f"simulated:{self.devices}x{self.model}{linked}"


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One agent to run. Its ports are `[port_first, port_last]`, both included. `devices` None: as
    many as this host has.
    """

    name: str
    driver: str
    devices: int | None
    directory: Path
    port_first: int
    port_last: int
    labels: dict[str, str] = {}


def parse_simulate(text: str) -> SimulatedGroup:
    """Reads `4x8xH100` or `4x8xH100:site=a,racks=2,links=4,zone=b`. Raises FleetError."""
    matched = SIMULATE_FORM.fullmatch(text)
    if matched is None:
        raise FleetError(
            f"--simulate {text!r} does not have the form NxGxMODEL or NxGxMODEL:KEY=VALUE,..., "
            "for example 4x8xH100 or 4x8xH100:site=a,racks=2"
        )
    nodes, devices, model = int(matched[1]), int(matched[2]), matched[3]
    if not 1 <= nodes <= NODES_MAX:
        raise FleetError(f"--simulate {text!r}: 1 to {NODES_MAX} nodes are possible, not {nodes}")
    if devices > DEVICES_PER_NODE_MAX:
        raise FleetError(
            f"--simulate {text!r}: at most {DEVICES_PER_NODE_MAX} devices per node are possible"
        )
    if MODEL_FORM.fullmatch(model) is None:
        raise FleetError(
            f"--simulate {text!r}: a model is 1 to 40 letters, digits, '_', '.', '+' or '-'"
        )
    about = _about(text, matched[4] or "")
    racks = _number(text, "racks", about.pop("racks", "0"), nodes)
    links = about.pop("links", None)
    return SimulatedGroup(
        nodes=nodes,
        devices=devices,
        model=model,
        racks=racks,
        links=None if links is None else _number(text, "links", links, devices) or None,
        link=about.pop("link", ""),
        labels=about,
    )


def _about(text: str, pairs: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs.split(",") if pairs else ():
        key, _, value = pair.partition("=")
        if not WORD_FORM.fullmatch(key) or not WORD_FORM.fullmatch(value):
            raise FleetError(
                f"--simulate {text!r}: {pair!r} is not KEY=VALUE of letters, digits, '_', '.', '-'"
            )
        found[key] = value
    return found


def _number(text: str, key: str, value: str, most: int) -> int:
    if not value.isdecimal() or int(value) > most:
        raise FleetError(f"--simulate {text!r}: {key} is a number of at most {most}, not {value!r}")
    return int(value)


def plan_fleet(
    groups: Sequence[SimulatedGroup], *, local_node: bool, directory: Path
) -> tuple[Node, ...]:
    """Names every node and gives each its directory below `directory` and its ports.

    Names are the same every time, so that a later `up` finds the same nodes. Raises FleetError.
    """
    wanted: list[tuple[str, str, int | None, dict[str, str]]] = []
    if local_node:
        wanted.append((local_node_name(socket.gethostname()), "auto", None, {}))
    count_by_name: dict[str, int] = {}
    for group in groups:
        base = f"sim-{_token(group.model.lower())}"
        for number in range(group.nodes):
            count_by_name[base] = count_by_name.get(base, 0) + 1
            name = f"{base}-{count_by_name[base]}"
            wanted.append((name, group.driver, group.devices, group.labels_of(number)))
    if not wanted:
        raise FleetError("there is no node to run: drop --no-local-node or add --simulate")
    if len(wanted) > NODES_MAX:
        raise FleetError(f"{len(wanted)} nodes are asked for; {NODES_MAX} are possible")
    starts = node_port_ranges(len(wanted))
    return tuple(
        Node(
            name=name,
            driver=driver,
            devices=devices,
            directory=directory / name,
            port_first=start,
            port_last=start + PORTS_PER_NODE - 1,
            labels=labels,
        )
        for (name, driver, devices, labels), start in zip(wanted, starts, strict=True)
    )


def local_node_name(host_name: str) -> str:
    """This host's name as one subject token, without its domain."""
    name = _token(host_name.split(".")[0])
    if not is_token(name) or name.startswith("sim-"):
        return LOCAL_NODE_FALLBACK
    return name


def _token(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", text)[:NAME_LENGTH_MAX]
