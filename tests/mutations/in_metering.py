"""Which bugs can be planted in metering?

It does not know who sends what is metered.
"""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_METERING = "services/penstock_metering"

IN_METERING = (
    Mutation(
        name="ledger's cursor not in its transaction",
        file=f"{_METERING}/ledger/store.py",
        old="        self._upsert_cursors.run(connection, [*changes.cursors.items()])\n",
        new="",
        breaks="a restart counts what was counted",
    ),
    Mutation(
        name="ledger insert without a conflict clause",
        file=f"{_METERING}/ledger/segment_rows.py",
        old="        self._insert_raw = database.insert_absent(schema.raw_segments)\n",
        new="        self._insert_raw = database.insert(schema.raw_segments)\n",
        breaks="a repeated segment stops the ledger",
    ),
    Mutation(
        name="ledger acknowledged before it is stored",
        file=f"{_METERING}/intake.py",
        old="                await self._commit(arrived)\n",
        new="                self._progress.advance(\n"
        "                    {name: batch[-1].seq for name, batch in arrived.items() if batch}\n"
        "                )\n"
        "                await self._commit(arrived)\n",
        breaks="what a crash forgets is purged",
    ),
    Mutation(
        name="ledger's fence removed",
        file=f"{_METERING}/ledger/fence.py",
        old="        if term != self.term:\n",
        new="        if term < self.term:\n",
        breaks="two writers of the ledger",
    ),
    Mutation(
        name="batch dropped when the database is busy",
        file=f"{_METERING}/intake.py",
        old="                self.retries += 1\n",
        new="                return None\n",
        breaks="use is lost",
    ),
)
