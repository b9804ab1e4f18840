"""`python -m penstock_scheduler`: the scheduler in the foreground."""

from __future__ import annotations

from penstock_scheduler.command import command

command()
