"""How does one say on a command line who pays for a job?

It does not know what anything costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

TIERS = ("on_demand", "spot", "reserved")
"""As in the contract, which a help text does not wait for."""

_OPTIONS = (
    click.option("--project", default="", help="Which of the tenant's projects pays."),
    click.option(
        "--tier", type=click.Choice(TIERS), help="At which price; spot work may be ended first."
    ),
    click.option(
        "--disconnect",
        metavar="D",
        help="How long it may go on without contact to the mesh; needed where credit pays.",
    ),
)


def paying_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def paying_of(options: dict[str, Any], disconnect_s: int | None) -> dict[str, Any]:
    """The fields of a job that they make."""
    return {
        "project": options["project"],
        "tier": options["tier"] or "",
        "disconnect_s": disconnect_s,
    }
