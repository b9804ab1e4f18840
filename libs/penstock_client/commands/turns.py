"""How does one say on a command line when a job should have its turn, and how it yields?

It does not know who is next.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from penstock_contracts.jobs import JobSpec

SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2")
"""As in the contract, which a help text does not wait for."""

_OPTIONS = (
    click.option("--pool", default="", help="In whose line it waits.  [default: the usual one]"),
    click.option(
        "--deadline", metavar="T", help="By then it should have ended: 2026-12-01T08:00; in 2h: 2h."
    ),
    click.option(
        "--checkpoint-signal",
        type=click.Choice(SIGNALS),
        help="It saves its work when it gets this, where it has to yield; until --grace is over.",
    ),
    click.option(
        "--checkpoint-every", metavar="D", help="It saves its work by itself so often at least."
    ),
)


def turn_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def turn_of(options: dict[str, Any], checkpoint_s: int | None) -> dict[str, Any]:
    """The fields of a job that they make."""
    from penstock_client.commands.instants import coming_ms

    by = options["deadline"]
    return {
        "pool": options["pool"],
        "deadline_ms": None if by is None else coming_ms(by, time.time_ns() // 10**6, "--deadline"),
        "checkpoint_signal": options["checkpoint_signal"] or "",
        "checkpoint_s": checkpoint_s,
    }


def turn_said(spec: JobSpec) -> list[tuple[str, str]]:
    """What a job says of it, as a person reads it: a name and a value each; empty ones say
    nothing."""
    from penstock_client.durations import format_duration, format_instant

    saves = [f"on {spec.checkpoint_signal}"] if spec.checkpoint_signal else []
    if spec.checkpoint_s is not None:
        saves.append(f"every {format_duration(1_000 * spec.checkpoint_s)}")
    return [
        ("pool", spec.pool),
        ("tier", spec.tier),
        ("deadline", "" if spec.deadline_ms is None else format_instant(spec.deadline_ms)),
        ("saves its work", ", ".join(saves)),
    ]
