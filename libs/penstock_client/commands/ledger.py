"""Which commands look into the ledger?

The group ledger and a table of its commands; the code of each is loaded when it is used. It does
not know what they do.
"""

from __future__ import annotations

import importlib

import click

_HERE = "penstock_client.commands"
SUBCOMMANDS: dict[str, tuple[str, str]] = {
    "check": (
        f"{_HERE}.ledger_check:check",
        "Compare the ledger with the agents' own counters.",
    ),
    "rebuild": (
        f"{_HERE}.ledger_rebuild:rebuild",
        "Derive rated use, rollups and device time again.",
    ),
    "export": (
        f"{_HERE}.ledger_export:export",
        "Write a month as FOCUS cost and usage data.",
    ),
    "explain": (
        f"{_HERE}.ledger_explain:explain",
        "Say how a job came to its part of a bill.",
    ),
}
"""Where each lives, and its line in the help."""


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in SUBCOMMANDS:
            return None
        module, _, name = SUBCOMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in SUBCOMMANDS.items()])


@click.group(cls=_Lazy)
def ledger() -> None:
    """Check, rebuild, export and explain the ledger."""
