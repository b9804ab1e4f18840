"""What do operators do to the fleet while it works?

One function per kind. It is no fault, but it strikes like one. It does not know when.
"""

from __future__ import annotations

import random

from penstock_contracts.nodes import NodeCommand
from tests.simulation.misfortune import Done, Kind, some
from tests.simulation.world import World


def _close_host(world: World, rng: random.Random) -> Done | None:
    host = rng.choice(world.hosts)
    verb = rng.choice(("cordon", "drain", "drain"))
    deadline_s = rng.choice((None, 0, 30, 120)) if verb == "drain" else None
    lasts_s = rng.choice((20, 120, 600))
    world.command_node(host.name, verb, NodeCommand("as the adversary wants it", deadline_s))

    def open_again() -> None:
        world.command_node(host.name, "uncordon", NodeCommand())

    within = f" within {deadline_s} s" if deadline_s is not None else ""
    return Done(f"an operator asks to {verb} {host.name}{within}", host.name, open_again, lasts_s)


def _put_out_host(world: World, rng: random.Random) -> Done | None:
    guest = some(rng, [guest for guest in world.guests if guest.joined and guest.host.up])
    if guest is None:
        return None
    guest.put_out()
    return Done(f"an operator removes {guest.host.name}, which joins anew", guest.host.name)


OPERATOR_KINDS: tuple[Kind, ...] = (
    Kind("host closed by an operator", 3, _close_host),
    Kind("host put out", 2, _put_out_host),
)
