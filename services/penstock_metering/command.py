"""How is metering started from the command line?"""

from __future__ import annotations

from penstock_metering.config import Config
from penstock_runtime.config import command_for


def run(config: Config) -> int:
    """Runs until stopped; the heavy imports happen here."""
    from penstock_metering.process import serve

    return serve(config)


command = command_for(
    Config, name="metering", help="Keep the ledger: who used which device, at what cost.", run=run
)
