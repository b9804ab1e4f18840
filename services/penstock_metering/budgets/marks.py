"""What do messages change about budgets?

Notes what the scheduler reserved, what it agreed to, and of which attempts there is more to settle:
in the transaction that stores their cause. It does not settle anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from penstock_metering.budgets import tables
from penstock_metering.core.allowances import Agreed, Reserved
from penstock_metering.ledger import schema
from penstock_metering.ledger.database import Database
from penstock_metering.ledger.segment_rows import Accepted

if TYPE_CHECKING:
    from penstock_metering.ledger.store import Changes

_grants, _accounts, _credits = tables.budget_grants, tables.budget_accounts, tables.credits
_leases = schema.leases


def mark_budgets(database: Database) -> MarkBudgets:
    """A follower of ingest."""
    return MarkBudgets()


class MarkBudgets:
    def __call__(
        self, connection: sa.Connection, changes: Changes, accepted: Sequence[Accepted]
    ) -> None:
        for reserved in changes.reserved:
            _reserve(connection, reserved)
        for agreed in changes.agreed:
            agree(connection, agreed)
        if not connection.execute(sa.select(_grants.c.lease_seq).limit(1)).first():
            return
        keys = {(lease.lease_seq, lease.job_id): None for lease in changes.leases}
        for item in accepted:
            lease_seq, job_id, _, _ = item.posting.key
            keys[lease_seq, job_id] = None
        if keys:
            statement = sa.update(_grants).where(
                _grants.c.lease_seq == sa.bindparam("seq"), _grants.c.job_id == sa.bindparam("job")
            )
            rows = [{"seq": seq, "job": job} for seq, job in keys]
            connection.execute(statement.values(dirty=1), rows)


def _reserve(connection: sa.Connection, reserved: Reserved) -> None:
    """What is reserved only grows; an attempt that is over keeps what it had."""
    seq = (
        reserved.lease_seq
        or connection.execute(
            sa.select(_leases.c.lease_seq)
            .where(_leases.c.job_id == reserved.job_id, _leases.c.attempt == reserved.attempt)
            .limit(1)
        ).scalar()
    )
    if seq is None:
        return  # its grant stood in entries that are missing
    key = {"lease_seq": seq, "job_id": reserved.job_id, "budget_id": reserved.budget_id}
    same = [_grants.c[name] == value for name, value in key.items()]
    known = connection.execute(sa.select(_grants.c.reserved).where(*same)).scalar()
    if known is None:
        connection.execute(
            sa.insert(_grants).values(
                **key, reserved=reserved.amount, charged=0, excess=0, over=0, dirty=1
            )
        )
    elif known < reserved.amount:
        connection.execute(
            sa.update(_grants).where(*same).values(reserved=reserved.amount, dirty=1)
        )


def agree(connection: sa.Connection, agreed: Agreed) -> None:
    """Of a withdrawal goes out what the scheduler works without from now on."""
    account = connection.execute(
        sa.select(_accounts).where(_accounts.c.budget_id == agreed.budget_id)
    ).one_or_none()
    if account is None or account.asked_number is None or agreed.number < account.asked_number:
        return
    limit = min(account.amount, max(account.asked, agreed.limit))
    taken = account.amount - limit
    connection.execute(
        sa.update(_accounts)
        .where(_accounts.c.budget_id == agreed.budget_id)
        .values(amount=limit, asked=limit, asked_number=None, told="")
    )
    connection.execute(
        sa.update(_credits)
        .where(
            _credits.c.tenant == account.tenant,
            _credits.c.currency == account.currency,
            _credits.c.state == "asked",
        )
        .values(state="done" if taken else "refused", amount_micro=-taken)
    )
