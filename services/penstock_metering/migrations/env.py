"""How does Alembic reach the database? Through the connection that `ledger.database` hands over."""

from __future__ import annotations

from alembic import context

from penstock_metering.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
