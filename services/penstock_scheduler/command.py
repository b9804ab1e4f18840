"""How is the scheduler started from the command line?"""

from __future__ import annotations

from penstock_runtime.config import command_for
from penstock_scheduler.config import Config


def run(config: Config) -> int:
    """Runs until stopped; the heavy imports happen here."""
    from penstock_scheduler.service import serve

    return serve(config)


command = command_for(
    Config, name="scheduler", help="Decide which job runs where; the only writer of JOBS.", run=run
)
