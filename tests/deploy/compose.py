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
OTHERS = ("init", "nats", "postgres", "prometheus", "jaeger")
"""Containers whose argument is no `penstock` command."""


@cache
def services() -> dict[str, dict[str, Any]]:
    with COMPOSE_FILE.open() as file:
        found: dict[str, dict[str, Any]] = yaml.safe_load(file)["services"]
    return found


def penstock_services() -> dict[str, list[str]]:
    """Container name and the arguments of `penstock` in it."""
    return {name: spec["command"] for name, spec in services().items() if name not in OTHERS}


def long_running() -> tuple[str, ...]:
    return tuple(name for name in penstock_services() if name not in ("cli", "streams"))
