"""What do inventory's tests have in place of keys?

What signs for it and tells the broker who was put out: claims are words, and `Claims` is what the
broker holds. It does not know who decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from penstock_bus.port import Outage
from penstock_contracts.joining import CREDENTIAL_S


class Claims:
    """The broker's side. `away`: it does not answer now. `told`: all that it was ever told."""

    def __init__(self) -> None:
        self.away = False
        self.revoked: frozenset[str] = frozenset()
        self.told: list[frozenset[str]] = []


class WordyAuthority:
    """Of one instance of inventory. `now_s` is its wall clock."""

    def __init__(self, claims: Claims, now_s: Callable[[], int]) -> None:
        self._claims, self._now_s = claims, now_s
        self.closed = False

    def invite(self, key: str, expires_s: int) -> str:
        return f"joiner {key} until {expires_s}"

    def admit(self, key: str, node: str) -> tuple[str, str, int]:
        expires_s = self._now_s() + CREDENTIAL_S
        return f"node {node} {key} until {expires_s}", f"joiner {key}", expires_s

    async def revoke(self, keys: Mapping[str, int]) -> None:
        if self._claims.away:
            raise Outage("the broker is away")
        self._claims.revoked = frozenset(keys)
        self._claims.told.append(self._claims.revoked)

    async def close(self) -> None:
        self.closed = True
