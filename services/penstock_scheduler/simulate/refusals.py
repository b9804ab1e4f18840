"""How is it told that something given to a simulation cannot be used?

One sentence with a code that stays the same, on stderr; with --json also as an object on stdout;
exit code 2. It does not know what can be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

EXIT_REFUSED = 2


class Refused(click.ClickException):
    """What was given cannot be used. `field`: the column or option, when it is one."""

    exit_code = EXIT_REFUSED

    def __init__(self, code: str, sentence: str, as_json: bool, *, field: str = "") -> None:
        super().__init__(sentence)
        self.code = code
        self.field = field
        self.as_json = as_json

    def show(self, file: Any = None) -> None:
        click.echo(f"penstock: {self.code}: {self.message}", err=True)
        if self.as_json:
            import msgspec

            refusal = {"code": self.code, "message": self.message, "field": self.field}
            click.echo(msgspec.json.encode({"refusal": refusal}))


@contextmanager
def refusing_tables(as_json: bool) -> Iterator[None]:
    """A bad table below becomes the command's end."""
    from penstock_scheduler.simulate.tables import BadTable

    try:
        yield
    except BadTable as error:
        raise Refused(error.code, str(error), as_json, field=error.column) from error
