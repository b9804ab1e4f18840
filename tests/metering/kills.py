"""How does a test end a writer at a line of its choice?

Raises in place of a statement, so that nothing after it runs. It does not know what is written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from metering.conftest import Ledger


class Killed(BaseException):
    """The process is gone at this statement."""


def kill_at(ledger: Ledger, statement: int) -> Callable[[], object]:
    """Arm a kill before the n-th statement of the next transaction, or before its commit."""
    seen = 0

    def count(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == statement:
            raise Killed

    engine = ledger.database.writing
    sa.event.listen(engine, "before_cursor_execute", count)
    sa.event.listen(engine, "commit", count)
    return lambda: (
        sa.event.remove(engine, "before_cursor_execute", count),
        sa.event.remove(engine, "commit", count),
    )
