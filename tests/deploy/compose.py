"""What does the compose file say, once its anchors are merged?

It does not run anything.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yml"
CLUSTER_FILE = ROOT / "deploy/docker-compose.cluster.yml"
BROKERS = ("nats", "nats-b", "nats-c")
OTHERS = ("init", *BROKERS, "postgres", "prometheus", "jaeger")
"""Containers whose argument is no `penstock` command."""


@cache
def services(*, cluster: bool = False) -> dict[str, dict[str, Any]]:
    """The containers; with `cluster`, as both files make them together."""
    found: dict[str, dict[str, Any]] = _read(COMPOSE_FILE)
    for name, changes in _read(CLUSTER_FILE).items() if cluster else ():
        found[name] = _merged(found.get(name, {}), changes)
    return found


def _read(path: Path) -> dict[str, dict[str, Any]]:
    with path.open() as file:
        found: dict[str, dict[str, Any]] = yaml.safe_load(file)["services"]
    return found


def _merged(before: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """As compose does it: mappings and lists of volumes together, all else replaced."""
    merged = {**before, **changes}
    for key in ("environment", "depends_on"):
        if key in before and key in changes:
            merged[key] = {**before[key], **changes[key]}
    if "volumes" in before and "volumes" in changes:
        targets = {volume.split(":")[1] for volume in changes["volumes"]}
        kept = [volume for volume in before["volumes"] if volume.split(":")[1] not in targets]
        merged["volumes"] = [*kept, *changes["volumes"]]
    return merged


def penstock_services(*, cluster: bool = False) -> dict[str, list[str]]:
    """Container name and the arguments of `penstock` in it."""
    found = services(cluster=cluster)
    return {name: spec["command"] for name, spec in found.items() if name not in OTHERS}


def long_running() -> tuple[str, ...]:
    return tuple(name for name in penstock_services() if name not in ("cli", "streams"))
