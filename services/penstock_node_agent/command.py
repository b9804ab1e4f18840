"""How is the node agent started from the command line?"""

from __future__ import annotations

from penstock_node_agent.config import Config
from penstock_runtime.config import command_for


def run(config: Config) -> int:
    """Runs until stopped; the heavy imports happen here."""
    from penstock_node_agent.service import serve

    return serve(config)


command = command_for(Config, name="agent", help="Run what is assigned to this host.", run=run)
