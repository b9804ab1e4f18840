"""What does whoever runs the mesh do about money?

Sets prices and changes them, gives tenants budgets and takes them away, takes in credit and pays it
back, closes the month: at moments it draws, some of it twice, and writes down what it was told. In
some worlds nobody cares for money. It does not know who spends it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from penstock_bus.port import Bus
from penstock_contracts.bills import ClosePeriod
from penstock_contracts.budgets import GPU_TIME, MICRO, AddCredit, SetBudget
from penstock_contracts.price_book import SetPrice
from penstock_contracts.prices import PPM
from tests.checkers.books import MoneyOrder
from tests.checkers.history import History
from tests.simulation.broker import ObservedBroker
from tests.simulation.kernel import Kernel
from tests.simulation.officer import Officer
from tests.simulation.terrain import MODELS, SITES

MONEY_SHARE = 0.7
"""Of worlds in which somebody cares for money."""
PREPAID_SHARE, BUDGET_SHARE = 0.3, 0.5
TRIES = (1, 1, 30)
"""A careless one does not know whether it was done."""
CHANGES = (2, 6, 14)
GPU_S_POWERS = (1.7, 4.3)
"""A budget is so many GPU seconds, as a power of ten: from less than one job to more than all."""
MICRO_PER_GPU_S = 555
MILLI_MS_PER_S = 1_000_000
PLENTY_MICRO = 1 << 50
LATER_MS = 900_000
SERVICE = "metering"
CLOSED_SHARE = 0.5
"""Of worlds that close the month when nobody works any more, though some use is still to come."""

Wish = tuple[str, Any]
"""What is ordered of metering, and how."""


class Treasury:
    """`tenants`: all there are. `prepaid`: those who pay in advance. `opened`: what was to be said
    before anybody works has been said. `done`: nobody waits for money any more."""

    def __init__(
        self,
        kernel: Kernel,
        broker: ObservedBroker,
        history: History,
        tenants: Sequence[str],
        *,
        seed: int,
        until_s: float,
    ) -> None:
        self._kernel, self._history = kernel, history
        self._rng = rng = random.Random(f"money {seed}")
        self._officer = Officer(kernel, broker, "treasurer", rng)
        self._tenants, self._until_s = tuple(tenants), until_s
        self.cares = rng.random() < MONEY_SHARE
        asked = [name for name in self._tenants if rng.random() < PREPAID_SHARE]
        self.prepaid = frozenset(asked if self.cares else ())
        self.done = True
        self.opened = asyncio.Event()
        self._budgets: dict[str, SetBudget] = {}
        self._settling = False

    async def live(self) -> int:
        """Its process."""
        if not self.cares:
            self.opened.set()
            return 0
        loop, rng = self._kernel.loop, self._rng
        bus = await self._officer.connect()
        for wish in self._first():
            await self._carry_out(bus, wish)
        self.opened.set()
        moments = sorted(rng.uniform(5.0, self._until_s) for _ in range(rng.choice(CHANGES)))
        for moment in moments:
            await asyncio.sleep(max(0.0, moment - loop.time()))
            if self._settling:
                break
            await self._carry_out(bus, self._change())
        await bus.close()
        return 0

    def settle(self) -> None:
        """Have everybody have enough, so that all work comes to its end."""
        self._settling = True
        if not self.cares or not self.done:
            return
        self.done = False

        async def lift() -> int:
            bus = await self._officer.connect()
            for budget in list(self._budgets.values()):
                gone = msgspec.structs.replace(budget, limit=None)
                await self._insist(bus, ("set_budget", gone))
            if self._rng.random() < CLOSED_SHARE:
                await self._insist(bus, ("close_period", ClosePeriod(key="", month="")))
            for tenant in sorted(self.prepaid):
                await self._insist(bus, ("add_credit", self._credit(tenant, PLENTY_MICRO)))
            await bus.close()
            self.done = True
            return 0

        self._kernel.spawn("treasurer", lift)

    # -- what is wanted ------------------------------------------------------------------------
    def _first(self) -> Iterator[Wish]:
        rng = self._rng
        for _ in range(rng.choice((0, 1, 3))):
            yield self._price(later=False)
        for tenant in self._tenants:
            if tenant in self.prepaid:
                yield "add_credit", self._credit(tenant, self._micro())
            if rng.random() < BUDGET_SHARE:
                yield self._budget(tenant)

    def _change(self) -> Wish:
        rng = self._rng
        kind = rng.random()
        if kind < 0.25:
            return self._price(later=rng.random() < 0.5)
        if kind < 0.55 and self.prepaid:
            sign = rng.choice((1, 1, -1))
            return "add_credit", self._credit(
                rng.choice(sorted(self.prepaid)), sign * self._micro()
            )
        if kind < 0.7 and self._budgets:
            budget = rng.choice(list(self._budgets.values()))
            limit = rng.choice((None, self._limit(budget.unit), self._limit(budget.unit)))
            changed = msgspec.structs.replace(budget, key="", limit=limit)
            return "set_budget", changed
        if kind < 0.85:
            return self._budget(rng.choice(self._tenants))
        return "close_period", ClosePeriod(key="", month="")

    def _price(self, *, later: bool) -> Wish:
        rng = self._rng
        sku = rng.choice(("gpu", "gpu", f"gpu/{rng.choice(MODELS)}", "cpu", "job", "energy"))
        known: dict[str, Any] = {"micro": rng.choice((0, 1, 400_000, 2_500_000, 9_999_999))}
        tenant = rng.choice(("", "", *self._tenants))
        if tenant and rng.random() < 0.5:
            known = {"discount_ppm": rng.randrange(1, PPM)}
        now_ms = self._kernel.now_ns // 1_000_000
        return "set_price", SetPrice(
            key="",
            sku=sku,
            tenant=tenant,
            tier=rng.choice(("", "", "spot")),
            site=rng.choice(("", "", *SITES)),
            effective_from_ms=now_ms + rng.randrange(1_000, LATER_MS) if later else None,
            granularity_ms=rng.choice((None, 1, 1_000, 60_000)),
            minimum_ms=rng.choice((None, 0, 30_000)),
            billable=rng.choice((None, ("running",), ("preparing", "running", "settling"))),
            free_quantity=rng.choice((None, None, 10_000_000)),
            **known,
        )

    def _budget(self, tenant: str) -> Wish:
        rng = self._rng
        unit = rng.choice((MICRO, GPU_TIME))
        return "set_budget", SetBudget(
            key="",
            budget_id=f"{tenant}-{rng.randrange(2)}",
            tenant=tenant,
            project=rng.choice(("", "", "red")),
            unit=unit,
            currency="USD" if unit == MICRO else "",
            acts=rng.choice(("stop", "stop", "stop", "end_preemptible", "refuse", "warn")),
            per=rng.choice(("total", "total", "month")),
            limit=self._limit(unit),
        )

    def _limit(self, unit: str) -> int:
        return self._micro() if unit == MICRO else self._gpu_s() * MILLI_MS_PER_S

    def _gpu_s(self) -> int:
        return round(10 ** self._rng.uniform(*GPU_S_POWERS))

    def _micro(self) -> int:
        return self._gpu_s() * MICRO_PER_GPU_S

    def _credit(self, tenant: str, amount_micro: int) -> AddCredit:
        return AddCredit(key="", tenant=tenant, amount_micro=amount_micro)

    # -- how it is told ------------------------------------------------------------------------
    async def _carry_out(self, bus: Bus, wish: Wish) -> None:
        what, command = wish[0], self._officer.keyed(wish[1])
        tries = self._rng.choice(TRIES)
        told = await self._officer.insist(bus, SERVICE, what, command, tries=tries)
        self._note(what, command, told)
        if told and self._rng.random() < 0.2:
            self._note(what, command, await self._officer.order(bus, SERVICE, what, command))

    async def _insist(self, bus: Bus, wish: Wish) -> None:
        what, command = wish[0], self._officer.keyed(wish[1])
        self._note(what, command, await self._officer.insist(bus, SERVICE, what, command))

    def _note(self, what: str, command: Any, told: str) -> None:
        if what == "set_budget" and told in ("", "done"):
            self._budgets[command.budget_id] = command
        self._history.money_orders.append(
            MoneyOrder(
                at_ns=self._kernel.now_ns,
                what=what,
                key=command.key,
                told=told,
                tenant=getattr(command, "tenant", ""),
                micro=getattr(command, "amount_micro", 0),
            )
        )
