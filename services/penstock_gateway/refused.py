"""How is a question of the depot refused?

By a value with a stable code. It does not know who asks.
"""

from __future__ import annotations

from penstock_contracts.errors import Refusal


class Refused(Exception):
    """Carries the refusal to where it becomes an answer."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.refusal = Refusal(code, message)
