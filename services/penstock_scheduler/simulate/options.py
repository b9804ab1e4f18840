"""What can be said to every simulation?

Options that the commands share, and what of them is refused. It does not know the commands.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from penstock_scheduler.core.packing.policies import DEFAULT, POLICIES

SEEDS_MAX = 10_000
SEED_DIGITS_MAX = 18
Command = TypeVar("Command", bound=Callable[..., Any])


def trace_options(function: Command) -> Command:
    """What every simulation takes."""
    for option in (
        click.option("--json", "json_output", is_flag=True, help="Print JSON lines."),
        click.option(
            "--policy",
            "policies",
            type=click.Choice(list(POLICIES)),
            multiple=True,
            help="Repeat it to compare several.  [default: penstock]",
        ),
        click.option(
            "--workload",
            type=click.Choice(["list", "online"]),
            default="list",
            show_default=True,
            help="Whether the jobs' distribution is known, or learned as they come.",
        ),
        click.option(
            "--jobs", type=click.Path(path_type=Path), required=True, help="CSV file of jobs."
        ),
        click.option(
            "--nodes", type=click.Path(path_type=Path), required=True, help="CSV file of nodes."
        ),
    ):
        function = option(function)
    return function


def chosen(policies: tuple[str, ...]) -> tuple[str, ...]:
    """Each policy once, in the order given; the default alone when none is."""
    return tuple(dict.fromkeys(policies)) or (DEFAULT.name,)


def seeds_option(default: str, said: str) -> Callable[[Command], Command]:
    """--seeds, as a tuple of numbers."""
    return click.option("--seeds", callback=_seeds, default=default, show_default=True, help=said)


Positive = Callable[[click.Context, click.Parameter, float | None], float | None]


def positive(most: float) -> Positive:
    """Checks that a number is above 0 and at most so much; click's own ranges let NaN pass."""

    def check(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
        if value is None or 0 < value <= most:
            return value
        raise click.BadParameter(f"{value} is not above 0 and at most {most:g}", ctx, param)

    return check


def _seeds(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    """`42`, `1-20`, or several of these with commas."""
    found: list[int] = []
    for part in value.split(","):
        low, dash, high = part.strip().partition("-")
        if not _is_seed(low) or (dash and not _is_seed(high)):
            raise click.BadParameter(f"{value!r} is not like 42, 42-51 or 1,3,5-7", ctx, param)
        first, last = int(low), int(high or low)
        if last < first:
            raise click.BadParameter(f"{part!r} ends before it begins", ctx, param)
        if len(found) + last - first >= SEEDS_MAX:
            raise click.BadParameter(f"more than {SEEDS_MAX} seeds", ctx, param)
        found.extend(range(first, last + 1))
    return tuple(dict.fromkeys(found))


def _is_seed(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= SEED_DIGITS_MAX
