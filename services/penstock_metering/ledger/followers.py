"""What else is written with each batch of messages?

Followers run inside the transaction that stores a batch, with what in it was new: they mark what
must be derived anew, and store what stands in the messages beside segments. So a mark is there
exactly if what it speaks of is. They must be cheap, and read nothing but what they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import sqlalchemy as sa

from penstock_metering.budgets.marks import mark_budgets
from penstock_metering.devices.marks import mark_nodes
from penstock_metering.ledger.database import Database
from penstock_metering.ledger.segment_rows import Accepted
from penstock_metering.rating.marks import mark_new

if TYPE_CHECKING:
    from penstock_metering.ledger.store import Changes


class Follower(Protocol):
    """Stores or marks with `connection`; must not commit."""

    def __call__(
        self, connection: sa.Connection, changes: Changes, accepted: Sequence[Accepted]
    ) -> None: ...


FOLLOWERS: tuple[Callable[[Database], Follower], ...] = (mark_new, mark_nodes, mark_budgets)
"""Each makes its statements once, for the database it is given."""
