"""How is the gateway started from the command line?"""

from __future__ import annotations

from penstock_gateway.config import Config
from penstock_runtime.config import command_for


def run(config: Config) -> int:
    """Runs until stopped; the heavy imports happen here."""
    from penstock_gateway.service import serve

    return serve(config)


command = command_for(
    Config, name="gateway", help="Serve the HTTP API of the mesh; holds no state.", run=run
)
