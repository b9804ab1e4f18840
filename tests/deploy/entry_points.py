"""Which click command stands behind `penstock NAME`? It runs nothing."""

from __future__ import annotations

from collections.abc import Sequence

import click

from penstock_client.cli import LazyGroup


def parse(name: str, arguments: Sequence[str]) -> None:
    """Raises click.UsageError for what the command, or its subcommand, does not know."""
    command = load_command(name)
    context = command.make_context(name, list(arguments))
    words = [*context._protected_args, *context.args]
    if isinstance(command, click.Group) and words:
        _, chosen, rest = command.resolve_command(context, words)
        if chosen is not None:
            chosen.make_context(name, rest, parent=context)


def load_command(name: str) -> click.Command:
    """Raises KeyError for a name that `penstock` does not know."""
    group = LazyGroup("penstock")
    found = group.get_command(click.Context(group), name)
    if found is None:
        raise KeyError(name)
    return found
