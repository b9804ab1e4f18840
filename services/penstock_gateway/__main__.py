"""`python -m penstock_gateway`: the gateway in the foreground."""

from __future__ import annotations

from penstock_gateway.command import command

command()
