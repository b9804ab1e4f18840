"""Is this host fit to be a node?

What each look has found, in the order in which a person would put it right. It does not know how
anything is looked at, nor who wants to know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec

from penstock_node_agent.config import Config

State = Literal["ok", "warn", "fail"]
OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"
LOOK_S = 60.0
"""Of all looks together, which are taken side by side: who asks wants an answer."""


class Finding(msgspec.Struct, frozen=True):
    """`found`: what is; `fix`: what to do about it, "" where nothing is to be done."""

    name: str
    state: State
    found: str
    fix: str = ""


class Report(msgspec.Struct, frozen=True):
    """All findings about a host. `fit` false: something must be put right first."""

    node: str
    fit: bool
    findings: tuple[Finding, ...]


Look = Callable[[Config], Awaitable[list[Finding]]]


async def check(config: Config) -> Report:
    """Look at everything that an agent with these settings would use."""
    from penstock_node_agent.checking.devices import look_at_containers, look_at_devices
    from penstock_node_agent.checking.host import (
        look_at_broker,
        look_at_clock,
        look_at_control_groups,
        look_at_disk,
        look_at_ports,
        look_at_system,
    )

    looks: tuple[tuple[str, Look], ...] = (
        ("system", look_at_system),
        ("devices", look_at_devices),
        ("containers", look_at_containers),
        ("control groups", look_at_control_groups),
        ("clock", look_at_clock),
        ("disk", look_at_disk),
        ("ports", look_at_ports),
        ("broker", look_at_broker),
    )
    found = await asyncio.gather(*(_look(name, look, config) for name, look in looks))
    findings = tuple(finding for some in found for finding in some)
    fit = not any(finding.state == FAIL for finding in findings)
    return Report(config.node, fit, findings)


async def _look(name: str, look: Look, config: Config) -> list[Finding]:
    """One that breaks or hangs is a finding too."""
    try:
        async with asyncio.timeout(LOOK_S):
            return await look(config)
    except TimeoutError:
        found = f"no answer within {LOOK_S:g} s"
        return [Finding(name, FAIL, found, "see what hangs there: a disk, a driver, podman")]
    except Exception as error:  # noqa: BLE001 — the other looks are wanted all the same
        return [Finding(name, FAIL, f"cannot be looked at: {error!r}", "report this as an error")]
