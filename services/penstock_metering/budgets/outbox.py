"""How does the scheduler hear of money?

What it is to hear is written down in the transaction that leads to it, under a number that never
goes back; it is sent until the broker has it. It does not know what is said.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec
import sqlalchemy as sa

from penstock_bus.port import Bus, BusRefusal, Outage
from penstock_contracts.budgets import BudgetFact, Rates
from penstock_contracts.errors import MALFORMED
from penstock_contracts.ids import ROOT
from penstock_metering.budgets import tables
from penstock_metering.ledger import schema

log = logging.getLogger(__name__)

STREAM = "BUDGETS"
NUMBER = "BUDGETS number"
"""Among the cursors: the newest number that was given."""
EVERYBODY = "-"
"""Instead of a tenant."""
SENT_AT_ONCE = 100

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(BudgetFact).decode
_outbox, _cursors = tables.budget_outbox, schema.cursors


def last_number(connection: sa.Connection) -> int:
    found = sa.select(_cursors.c.seq).where(_cursors.c.stream == NUMBER)
    return connection.execute(found).scalar() or 0


def raise_number(connection: sa.Connection, number: int) -> None:
    """Give no number up to this one (again)."""
    if connection.execute(
        sa.update(_cursors).where(_cursors.c.stream == NUMBER).values(seq=number)
    ).rowcount:
        return
    connection.execute(sa.insert(_cursors).values(stream=NUMBER, seq=number))


def put(connection: sa.Connection, make: Callable[[int], BudgetFact]) -> int:
    """Say what `make` makes of its number; returns that."""
    number = last_number(connection) + 1
    raise_number(connection, number)
    fact = make(number)
    if isinstance(fact, Rates):
        subject = f"{ROOT}.budget.{EVERYBODY}.rates"
    else:
        subject = f"{ROOT}.budget.{fact.tenant}.state"
    payload = _encode(fact).decode()
    connection.execute(sa.insert(_outbox).values(number=number, subject=subject, payload=payload))
    return number


def waiting(connection: sa.Connection) -> list[tuple[int, str, str]]:
    """What is to be sent next, in order."""
    rows = connection.execute(sa.select(_outbox).order_by(_outbox.c.number).limit(SENT_AT_ONCE))
    return [(row.number, row.subject, row.payload) for row in rows]


def forget(connection: sa.Connection, number: int) -> None:
    """The broker has everything up to this one."""
    connection.execute(sa.delete(_outbox).where(_outbox.c.number <= number))


async def send(bus: Bus, messages: list[tuple[int, str, str]]) -> int:
    """As many as the broker takes, in order; returns the number of the last one, 0 = none."""
    sent = 0
    for number, subject, payload in messages:
        try:
            await bus.append(subject, payload.encode(), message_id=str(number))
        except (Outage, BusRefusal) as error:
            log.warning("what the scheduler is to hear of budgets waits: %s", error)
            break
        sent = number
    return sent


async def newest_sent(bus: Bus) -> int:
    """The number of the newest message that the broker holds, whoever sent it; 0 = of none. Raises
    Outage, BusRefusal."""
    state = await bus.stream_state(STREAM)
    if not state.messages:
        return 0
    message = await bus.read(STREAM, state.last_seq)
    if message is None:
        return 0
    try:
        return int(_decode(message.payload).number)
    except MALFORMED:
        return 0
