"""`python -m penstock_inventory`: inventory in the foreground."""

from __future__ import annotations

from penstock_inventory.command import command

command()
