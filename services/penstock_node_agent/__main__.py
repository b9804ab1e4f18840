"""`python -m penstock_node_agent`: the node agent in the foreground."""

from __future__ import annotations

from penstock_node_agent.command import command

command()
