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
