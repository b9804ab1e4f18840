"""How does one say on a command line where a job may run?

Options for alternatives, nearness, spread, labels of nodes and jobs to keep apart from. It does not
know which of them contradict each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from penstock_contracts.asks import Alternative

ALTERNATIVE_FORM = re.compile(
    r"(?P<gpus>[0-9]{1,3}|0?\.[0-9]{1,3})x(?P<models>[^@]+)(@(?P<speed>[0-9]{1,3}(\.[0-9]{1,3})?))?"
)
LEVELS = ("link", "node", "rack", "site")
"""As in the contract, which a help text does not wait for."""

_OPTIONS = (
    click.option(
        "--or",
        "alternatives",
        metavar="GxMODEL[@SPEED]",
        multiple=True,
        help="Another choice, when the ones before it do not fit now: 4xA100, 0.5xL40S,L4, or "
        "4xA100@0.6 for 0.6 times as fast; repeatable.",
    ),
    click.option(
        "--near",
        type=click.Choice(LEVELS),
        help="All ranks in one link domain, node, rack or site; in a wider one when none has room.",
    ),
    click.option("--near-required", is_flag=True, help="Rather wait than take a wider one."),
    click.option(
        "--spread",
        type=click.Choice(LEVELS[1:]),
        help="No two ranks in one of these, or so many as --spread-ranks says.",
    ),
    click.option("--spread-ranks", type=int, metavar="N", help="See --spread.  [default: 1]"),
    click.option(
        "--node-label", metavar="K=V", multiple=True, help="Only nodes with it; repeatable."
    ),
    click.option(
        "--apart", metavar="WORD", help="No node with another job of the tenant that says WORD."
    ),
)


def asks_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def asks_of(options: dict[str, Any], node_labels: dict[str, str]) -> dict[str, Any]:
    """The fields of a job from what the options said."""
    spread_ranks = options["spread_ranks"]
    return {
        "alternatives": tuple(map(alternative_of, options["alternatives"])),
        "near": options["near"] or "",
        "near_required": options["near_required"],
        "spread": options["spread"] or "",
        "spread_ranks": 1 if spread_ranks is None else spread_ranks,
        "node_labels": node_labels,
        "apart": options["apart"] or "",
    }


def alternative_of(text: str) -> Alternative:
    """`4xA100@0.6` as an alternative."""
    from penstock_contracts.asks import Alternative

    matched = ALTERNATIVE_FORM.fullmatch(text)
    if matched is None:
        raise click.BadParameter(
            f"{text!r} is not GxMODEL or GxMODEL@SPEED, for example 4xA100@0.6", param_hint="--or"
        )
    share = "." in matched["gpus"]
    return Alternative(
        gpus=1 if share else int(matched["gpus"]),
        gpu_milli=round(float(matched["gpus"]) * 1000) if share else 1000,
        gpu_models=tuple(model for model in matched["models"].split(",") if model),
        speed_milli=round(float(matched["speed"] or "1") * 1000),
    )
