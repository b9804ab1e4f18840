"""Who signs what inventory has committed, in a world without keys?

Claims in plain words, and a broker that believes who is nobody. It does not know who is let in.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock_bus.port import Outage
from tests.checkers.history import History, Signature
from tests.simulation.broker import ObservedBroker
from tests.simulation.kernel import Kernel

CREDENTIAL_S = 1_000


class SimulatedAuthority:
    """Of one instance of inventory. What it signs is written down; the broker believes it who is
    nobody."""

    def __init__(self, kernel: Kernel, broker: ObservedBroker, history: History, by: str) -> None:
        self._kernel, self._broker, self._history, self._by = kernel, broker, history, by

    def invite(self, key: str, expires_s: int) -> str:
        return f"{key} may ask until {expires_s}"

    def admit(self, key: str, node: str) -> tuple[str, str, int]:
        self._history.signatures.append(Signature(at_ns=self._kernel.now_ns, key=key, node=node))
        claims = f"{key} is {node}"
        return claims, claims, self._kernel.now_ns // 10**9 + CREDENTIAL_S

    async def revoke(self, keys: Mapping[str, int]) -> None:
        if not self._broker.reachable(self._by):
            raise Outage("the broker cannot be told")
        self._broker.revoked = set(keys)

    async def close(self) -> None:
        return
