"""When does which fault come?

By the seed: moments, kinds, never two on brokers at once, never more than a few together; at the
end everything is mended. What was done goes into the history. It does not know how it is done.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

from chaos.faults import ON_BROKERS, REFUSALS, Deed, Faults, deeds
from chaos.load import boottime_ns
from tests.checkers.history import Fault, History

AT_ONCE_MAX = 3
"""Faults under way at the same time."""
KINDS = {"kill reaper": "reaper killed", "kill agent": "agent killed"}
"""As the checkers call what they care for."""


class Schedule:
    """`done` and `missed` count faults by name; a missed one found nobody to hurt."""

    def __init__(
        self, faults: Faults, history: History, rng: random.Random, say: Callable[[str], None]
    ) -> None:
        self.done: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self._faults, self._history, self._rng, self._say = faults, history, rng, say
        self._open: dict[asyncio.Task[None], str] = {}

    async def run(self, seconds: float, every_s: float) -> None:
        """Returns when all is mended."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        kinds = deeds(self._faults.mesh)
        names, weights = list(kinds), [weight for weight, _ in kinds.values()]
        while True:
            moment = loop.time() + self._rng.expovariate(1 / every_s)
            await asyncio.sleep(min(moment, until) - loop.time())
            if moment >= until:
                break
            name = self._rng.choices(names, weights)[0]
            if self._may(name):
                self._open[asyncio.ensure_future(self._do(name, kinds[name][1]))] = name
        if self._open:
            await asyncio.gather(*self._open)

    def _may(self, name: str) -> bool:
        self._open = {task: kind for task, kind in self._open.items() if not task.done()}
        now = set(self._open.values())
        if name in ON_BROKERS and now & ON_BROKERS:
            return False
        return len(now) < AT_ONCE_MAX and name not in now

    async def _do(self, name: str, deed: Deed) -> None:
        at_ns = boottime_ns()
        try:
            sentence, node = await deed(self._faults)
        except REFUSALS:
            self.missed[name] += 1
            return
        self.done[name] += 1
        self._say(sentence)
        self._history.faults.append(
            Fault(
                at_ns=at_ns, kind=KINDS.get(name, name), node=node, until_ns=boottime_ns(),
                sentence=sentence,
            )
        )  # fmt: skip
        if name == "kill reaper":
            self._unwaited(node, at_ns)

    def _unwaited(self, node: str | None, at_ns: int) -> None:
        """What ran there has lost the reaper that would have seen its end."""
        for run in self._history.runs:
            if run.node == node and (run.ended_ns is None or run.ended_ns > at_ns):
                run.waited = False
                run.output_lost = True
