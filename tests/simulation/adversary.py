"""When does which misfortune happen?

Draws a schedule of faults for one seed: which kinds this world knows at all (worlds that each lack
some find more than worlds that are all alike), when each strikes and for how long. It does not know
how a fault is done (`faults`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.checkers.history import Fault
from tests.simulation.faults import KINDS
from tests.simulation.misfortune import Kind
from tests.simulation.world import World

FAULTS_MIN = 55
FAULTS_MAX = 90
KINDS_SHARE = (0.35, 0.6, 0.9)
FIRST_S = 20.0


class Adversary:
    """Lets faults loose on a world until `until_s`; then everything is put right again."""

    def __init__(
        self, world: World, rng: random.Random, *, until_s: float, faults_max: int | None = None
    ) -> None:
        self._world, self._rng, self._until_s = world, rng, until_s
        self._kinds = _draw_kinds(rng)
        self._faults_max = faults_max
        self.count = 0

    def begin(self) -> None:
        """Schedule everything."""
        rng, loop = self._rng, self._world.kernel.loop
        times = sorted(
            rng.uniform(FIRST_S, self._until_s) for _ in range(rng.randint(FAULTS_MIN, FAULTS_MAX))
        )
        weights = [kind.weight for kind in self._kinds]
        plan = [(at_s, rng.choices(self._kinds, weights)[0], rng.getrandbits(64)) for at_s in times]
        for at_s, kind, seed in plan[: self._faults_max]:
            loop.call_at(at_s, self._strike, kind, seed, context=self._world.kernel.context)

    def _strike(self, kind: Kind, seed: int) -> None:
        world = self._world
        done = kind.strike(world, random.Random(seed))
        if done is None:
            return  # nothing there to which it could happen now
        self.count += 1
        at_ns = world.kernel.now_ns
        until_ns = None
        if done.undo is not None:
            until_s = min(self._until_s, world.kernel.loop.time() + done.lasts_s)
            until_ns = at_ns + round((until_s - world.kernel.loop.time()) * 1e9)
            world.kernel.loop.call_at(until_s, done.undo, context=world.kernel.context)
        world.history.faults.append(
            Fault(
                at_ns=at_ns,
                kind=kind.name,
                node=done.node,
                until_ns=until_ns,
                sentence=done.sentence,
            )
        )


def _draw_kinds(rng: random.Random) -> Sequence[Kind]:
    share = rng.choice(KINDS_SHARE)
    kinds = [kind for kind in KINDS if rng.random() < share]
    return kinds or list(KINDS)
