"""Which click command stands behind `penstock NAME`? It runs nothing."""

from __future__ import annotations

import click

from penstock_client.cli import LazyGroup


def load_command(name: str) -> click.Command:
    """Raises KeyError for a name that `penstock` does not know."""
    group = LazyGroup("penstock")
    found = group.get_command(click.Context(group), name)
    if found is None:
        raise KeyError(name)
    return found
