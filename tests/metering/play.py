"""Which random things happen to a small mesh while everybody behaves?

Jobs come and go, alone and in gangs, on whole devices and parts; agents cut and send when they
like; nodes are cordoned, lost, found again, begin anew; devices break; clocks are apart. It does
not know what metering makes of it.
"""

from __future__ import annotations

import random

from metering.world import Job, World
from penstock_contracts.nodes import NodeCordoned, NodeLivenessChanged, NodeUncordoned


class Play:
    """Random moves of a mesh of two nodes with two devices each."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.world = World()
        self.world.is_measured = chance.random() < 0.5
        self.free: dict[tuple[str, str], int] = {}
        self.running: list[Job] = []
        self.boots = 0
        self.sold_milli_ms = 0
        for name in ("n1", "n2"):
            agent = self.world.a_node(name, gpus=2, skew_ms=chance.randint(-3_000, 3_000))
            self.free |= {(name, uuid): 1_000 for uuid in agent.devices}

    def step(self) -> None:
        self.world.pass_ms(self.chance.randint(0, 5_000))
        moves = [self.begin, self.begin, self.end, self.cut, self.send, self.disturb, self.reboot]
        self.chance.choice(moves)()

    def begin(self) -> None:
        milli = self.chance.choice([250, 500, 1_000])
        fitting = sorted(place for place, free in self.free.items() if free >= milli)
        if not fitting:
            return
        count = min(len(fitting), self.chance.choice([1, 1, 2]))
        places = self.chance.sample(fitting, count)
        for place in places:
            self.free[place] -= milli
        job = self.world.submit(gpu_milli=milli, ranks=count)
        self.world.grant(job, *((node, (uuid,)) for node, uuid in places))
        self.world.pass_ms(self.chance.randint(0, 40))
        self.world.start(job)
        self.running.append(job)

    def cut(self) -> None:
        for job in self.running:
            self._cut(job)

    def _cut(self, job: Job) -> None:
        ran_ms = self.world.now_ms - job.cut_ms
        self.sold_milli_ms += ran_ms * job.spec.gpu_milli * len(job.placement)
        self.world.cut(job)

    def end(self) -> None:
        if self.running:
            job = self.running.pop(self.chance.randrange(len(self.running)))
            self._cut(job)
            self.world.exit(job)
            self.world.pass_ms(self.chance.randint(0, 30))
            self.world.release(job)
            self.world.finish(job)
            self._give_back(job)

    def send(self) -> None:
        self.world.agents[self.chance.choice(["n1", "n2"])].send()

    def disturb(self) -> None:
        agent = self.world.agents[self.chance.choice(["n1", "n2"])]
        facts = [
            NodeCordoned(agent.name),
            NodeUncordoned(agent.name),
            NodeLivenessChanged(agent.name, "lost", ""),
            NodeLivenessChanged(agent.name, "alive", ""),
            agent.describe(unhealthy=agent.devices[:1]),
            agent.describe(),
        ]
        self.world.journal("NODES", self.chance.choice(facts))

    def reboot(self) -> None:
        name = self.chance.choice(["n1", "n2"])
        gone = [job for job in self.running if any(p.node == name for p in job.placement)]
        if self.chance.random() < 0.7 or any(len(job.placement) > 1 for job in gone):
            return
        self.boots += 1
        old = self.world.reboot(name, f"boot-{name}-{self.boots}", gone)
        old.send()
        for job in gone:
            self.running.remove(job)
            self._give_back(job)

    def _give_back(self, job: Job) -> None:
        for place in job.placement:
            self.free[place.node, place.devices[0]] += job.spec.gpu_milli
