"""What does whoever runs the queue do about it?

Sets a policy and changes it while everybody works, at moments it draws: some twice, some made from
an old one, some that contradict themselves; and writes down what it was told. In some worlds nobody
does. It does not know who waits for what.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import msgspec

from penstock_bus.port import Bus
from penstock_contracts.queue_messages import SetPolicy
from penstock_contracts.queue_policy import DEFAULT_POOL, Pool, QueuePolicy
from tests.checkers.history import History
from tests.checkers.queue_seen import PolicyOrder
from tests.simulation.broker import ObservedBroker
from tests.simulation.kernel import Kernel
from tests.simulation.officer import Officer
from tests.simulation.policies import change_policy, draw_policy, spoil

CARING_SHARE = 0.7
"""Of worlds in which somebody sets a policy at all."""
CHANGES = (0, 2, 5, 12)
TRIES = (1, 1, 30)
FAULTY_SHARE, STALE_SHARE, TWICE_SHARE = 0.12, 0.1, 0.2
SERVICE = "scheduler"
FORGOTTEN_SHARE = 0.5
"""Of worlds that end without any policy."""


class Steward:
    """`pools`: those that there are, as far as he knows. `done`: nobody waits for him any more."""

    def __init__(
        self,
        kernel: Kernel,
        broker: ObservedBroker,
        history: History,
        tenants: Sequence[str],
        nodes: Sequence[str],
        *,
        seed: int,
        until_s: float,
    ) -> None:
        self._kernel, self._history = kernel, history
        self._rng = rng = random.Random(f"queue {seed}")
        self._officer = Officer(kernel, broker, "steward", rng)
        self._tenants, self._nodes, self._until_s = tuple(tenants), tuple(nodes), until_s
        self.cares = rng.random() < CARING_SHARE
        self.pools: tuple[str, ...] = (DEFAULT_POOL,)
        self.done = True
        self._policy = QueuePolicy()
        self._settling = False

    async def live(self) -> int:
        """His process."""
        if not self.cares:
            return 0
        loop, rng = self._kernel.loop, self._rng
        bus = await self._officer.connect()
        moments = [
            0.0,
            *sorted(rng.uniform(5.0, self._until_s) for _ in range(rng.choice(CHANGES))),
        ]
        for moment in moments:
            await asyncio.sleep(max(0.0, moment - loop.time()))
            if self._settling:
                break
            await self._carry_out(bus, self._change())
        await bus.close()
        return 0

    def settle(self) -> None:
        """Let all work come to its end: nothing is reserved or bounded any more."""
        self._settling = True
        if not self.cares or not self.done:
            return
        self.done = False

        async def lift() -> int:
            bus = await self._officer.connect()
            last = QueuePolicy()
            if self._rng.random() >= FORGOTTEN_SHARE:
                pools = tuple(_lenient(pool) for pool in self._policy.pools[-1:])
                last = QueuePolicy(pools=pools, half_life_s=self._policy.half_life_s)
            command = self._officer.keyed(SetPolicy(key="", policy=last))
            self._note(command, await self._officer.insist(bus, SERVICE, "set_policy", command))
            await bus.close()
            self.done = True
            return 0

        self._kernel.spawn("steward", lift)

    def _change(self) -> SetPolicy:
        rng, now_ms = self._rng, self._kernel.now_ns // 1_000_000
        known = (self._tenants, self._nodes, now_ms)
        policy = change_policy(rng, self._policy, *known)
        if not self._policy.pools:
            policy = draw_policy(rng, *known)
        based_on = rng.choice((0, 1, 7)) if rng.random() < STALE_SHARE else None
        return SetPolicy(key="", policy=policy, based_on=based_on)

    async def _carry_out(self, bus: Bus, command: SetPolicy) -> None:
        rng, command = self._rng, self._officer.keyed(command)
        faulty = rng.random() < FAULTY_SHARE
        if faulty:
            command = msgspec.structs.replace(command, policy=spoil(rng, command.policy))
        tries = rng.choice(TRIES)
        told = await self._officer.insist(bus, SERVICE, "set_policy", command, tries=tries)
        self._note(command, told, faulty=faulty)
        if rng.random() < TWICE_SHARE:
            again = await self._officer.order(bus, SERVICE, "set_policy", command)
            self._note(command, again, faulty=faulty)

    def _note(self, command: SetPolicy, told: str, *, faulty: bool = False) -> None:
        if told == "done":
            self._policy = command.policy
            self.pools = tuple(pool.name for pool in command.policy.pools) or (DEFAULT_POOL,)
        self._history.policy_orders.append(
            PolicyOrder(
                at_ns=self._kernel.now_ns,
                key=command.key,
                policy=command.policy,
                based_on=command.based_on,
                told=told,
                faulty=faulty,
            )
        )


def _lenient(pool: Pool) -> Pool:
    """Of all nodes, as a job may wait that needs more than those of its pool; nobody waits there
    for long, and nobody yields."""
    order = "skip" if pool.order == "fifo" else pool.order
    return msgspec.structs.replace(pool, node_labels={}, order=order, preempt="none", hold_s=10)
