"""What do control groups allow on this host? Asked by a process that tries it and ends.

It does not know who wants to know.
"""

from __future__ import annotations

import sys

import msgspec

from penstock_node_agent.reaper.abilities import equip, offers_and_facts
from penstock_node_agent.reaper.processes import Processes


def main() -> None:
    """Prints a JSON line with `offers` and `facts`."""
    identity = sys.argv[1]
    processes = Processes(identity)
    equip(processes, identity)
    told = offers_and_facts(processes)
    processes.close()
    sys.stdout.write(msgspec.json.encode(told).decode() + "\n")


if __name__ == "__main__":
    main()
