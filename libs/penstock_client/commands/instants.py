"""How does a user name an instant on the command line?

It does not know what the instant is for.
"""

from __future__ import annotations

import time

import click


def instant_ms(text: str | None, option: str) -> int | None:
    """Unix ms; None when none was given. Raises click's BadParameter, which names the option."""
    from penstock_client.durations import parse_instant_ms

    try:
        return None if text is None else parse_instant_ms(text, time.time_ns() // 1_000_000)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from error


def coming_ms(text: str, from_ms: int, option: str) -> int:
    """Unix ms of `now`, of an ISO 8601 instant, or of so long after `from_ms` (`2h`). Raises
    click's BadParameter."""
    from penstock_client.durations import parse_duration_s, parse_instant_ms

    if text == "now":
        return from_ms
    try:
        if text[4:5] == "-":
            return parse_instant_ms(text, from_ms)
        return from_ms + 1_000 * parse_duration_s(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from error
