"""`python -m penstock_metering`: metering in the foreground."""

from __future__ import annotations

from penstock_metering.command import command

command()
