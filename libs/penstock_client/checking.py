"""Do the services' own accounts agree with each other?

Asks each for its audit, the later ones at the sequences that the earlier ones named, and compares.
It does not repair, and knows nothing but the answers.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import msgspec

from penstock_bus.port import Bus
from penstock_client.failures import Refused, Unavailable
from penstock_client.questions import ask
from penstock_contracts.queries import (
    Empty,
    Finding,
    InventoryAudit,
    MeteringAudit,
    MeteringAuditQuery,
    SchedulerAudit,
)

AUDIT_TIMEOUT_S = 60.0
"""An audit of ten thousand nodes may take 35 s."""
T = TypeVar("T")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`findings` per place; an audit that is None did not arrive, which is a finding too.

    `unaccounted_ms` None = unknown, because metering did not answer.
    """

    ok: bool
    findings: dict[str, tuple[Finding, ...]]
    unaccounted_ms: int | None
    scheduler: SchedulerAudit | None
    inventory: InventoryAudit | None
    metering: MeteringAudit | None


async def check(bus: Bus, timeout_s: float = AUDIT_TIMEOUT_S) -> Report:
    """All audits and what they contradict each other in."""
    findings: dict[str, list[Finding]] = {"scheduler": [], "inventory": [], "metering": []}

    async def audit(service: str, payload: Any, kind: type[T]) -> T | None:
        try:
            return await ask(bus, service, "audit", payload, kind, timeout_s)
        except Unavailable as error:
            findings[service].append(Finding("unavailable", str(error)))
        except Refused as error:
            findings[service].append(Finding(error.refusal.code, error.refusal.message))
        return None

    scheduler, inventory = await asyncio.gather(
        audit("scheduler", Empty(), SchedulerAudit), audit("inventory", Empty(), InventoryAudit)
    )
    query = MeteringAuditQuery(
        jobs_seq=scheduler.seq if scheduler else 0, nodes_seq=inventory.seq if inventory else 0
    )
    metering = await audit("metering", query, MeteringAudit)
    for service, answer in (
        ("scheduler", scheduler),
        ("inventory", inventory),
        ("metering", metering),
    ):
        findings[service] += answer.findings if answer is not None else ()
    findings["between"] = compare(scheduler, metering)
    return Report(
        ok=not any(findings.values()),
        findings={place: tuple(found) for place, found in findings.items()},
        unaccounted_ms=None if metering is None else metering.unaccounted_ms,
        scheduler=scheduler,
        inventory=inventory,
        metering=metering,
    )


def compare(scheduler: SchedulerAudit | None, metering: MeteringAudit | None) -> list[Finding]:
    """Contradictions between two accounts of the same jobs and the same time."""
    found: list[Finding] = []

    def expect(holds: bool, code: str, sentence: str) -> None:
        if not holds:
            found.append(Finding(code, sentence))

    if scheduler is not None:
        ended = sum(scheduler.finished.values())
        expect(
            scheduler.accepted == scheduler.live + ended,
            "jobs_unaccounted",
            f"the scheduler accepted {scheduler.accepted} jobs, but {scheduler.live} live and "
            f"{ended} have ended",
        )
    if metering is not None:
        expect(
            metering.unaccounted_ms == 0,
            "time_unaccounted",
            f"ledger and agents' counters differ by {metering.unaccounted_ms} GPU ms",
        )
        total = sum(metering.device_milli_ms.values())
        expect(
            total == metering.capacity_milli_ms,
            "states_do_not_sum",
            f"device states sum to {total} of {metering.capacity_milli_ms} milli-GPU ms",
        )
    if scheduler is not None and metering is not None and metering.jobs_seq == scheduler.seq:
        expect(
            scheduler.accepted == metering.accepted,
            "accepted_differ",
            f"the scheduler accepted {scheduler.accepted} jobs, metering knows {metering.accepted}",
        )
        for state in sorted({*scheduler.finished, *metering.finished}):
            ours, theirs = scheduler.finished.get(state, 0), metering.finished.get(state, 0)
            expect(
                ours == theirs,
                "finished_differ",
                f"{state}: {ours} jobs by the scheduler, {theirs} by metering",
            )
    return found
