"""How is inventory started from the command line?"""

from __future__ import annotations

from penstock_inventory.config import Config
from penstock_runtime.config import ConfigError, command_for


def run(config: Config) -> int:
    """Runs until stopped; the heavy imports happen here."""
    if config.lost_after_ms <= config.suspect_after_ms:
        raise ConfigError("setting lost_after_ms must be more than suspect_after_ms")
    from penstock_inventory.service import serve

    return serve(config)


command = command_for(
    Config, name="inventory", help="Keep the list of nodes; the only writer of NODES.", run=run
)
