"""Which bugs can be planted in the journal and its keeping?

It does not know the services that live on them.
"""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_RUNTIME = "libs/penstock_runtime"

IN_RUNTIME = (
    Mutation(
        name="a rival's entry taken for ours",
        file=f"{_RUNTIME}/journal.py",
        old="if entry is not None and entry.entry_id == entry_id:",
        new="if entry is not None:",
        breaks="effects of an entry that was never committed",
        fast=True,
    ),
    Mutation(
        name="lost acknowledgement taken for a failure",
        file=f"{_RUNTIME}/journal.py",
        old='            self.counters["acks_lost"] += 1\n            return True',
        new="            self.last_seq += 1\n            return False",
        breaks="an entry is appended twice",
    ),
    Mutation(
        name="no term of its own",
        file=f"{_RUNTIME}/engine.py",
        old="            self._journal.term = found.term + 1\n",
        new="            self._journal.term = max(found.term, 1)\n",
        breaks="a new leader cannot be told from the one before",
    ),
    Mutation(
        name="expected last sequence not sent",
        file=f"{_RUNTIME}/journal.py",
        old="self._subject, payload, expected_last_seq=after_seq, timeout_s=APPEND_S_MAX",
        new="self._subject, payload, timeout_s=APPEND_S_MAX",
        breaks="two leaders both commit",
    ),
    Mutation(
        name="effect before append",
        file=f"{_RUNTIME}/journaled.py",
        old="            outcome = await engine.commit(engine.decide())\n",
        new="            transition = engine.decide()\n"
        "            for place, draft in enumerate(transition.drafts, self.last_seq + 1):\n"
        "                self._on_commit(\n"
        "                    Committed(\n"
        "                        seq=place, term=self.term, writer=self.writer, entry_id='',\n"
        "                        now_ns=transition.now_ns, cursors={}, facts=draft.facts,\n"
        "                    )\n"
        "                )\n"
        "            outcome = await engine.commit(transition)\n",
        breaks="orders and facts of entries that never were",
        fast=True,
    ),
    Mutation(
        name="snapshot of speculative state",
        file=f"{_RUNTIME}/journaled.py",
        old="            outcome = await engine.commit(engine.decide())\n",
        new="            transition = engine.decide()\n"
        "            engine.snapshot_if_due()\n"
        "            outcome = await engine.commit(transition)\n",
        breaks="a restart applies facts twice",
    ),
    Mutation(
        name="cursor not in the entry of its facts",
        file=f"{_RUNTIME}/transition.py",
        old="        self._open.cursors = dict(self.cursors)\n",
        new="        self._open.cursors = {}\n",
        breaks="inputs count twice",
        fast=True,
    ),
    Mutation(
        name="cursor moved beyond what is decided",
        file=f"{_RUNTIME}/engine.py",
        old="transition.move_cursor(queue.stream, message.seq, message.time_ns)",
        new="transition.move_cursor(queue.stream, message.seq + 1, message.time_ns)",
        breaks="inputs are lost at a restart",
    ),
    Mutation(
        name="instants may go back",
        file=f"{_RUNTIME}/journal_time.py",
        old="        return self._now_ns\n",
        new="        return self._clock.now_ns()\n",
        breaks="time in the journal goes back",
    ),
    Mutation(
        name="purge past a lagging reader",
        file=f"{_RUNTIME}/keeping.py",
        old="            least = min(cursors.values(), default=0)\n",
        new="            least = max(cursors.values(), default=0)\n",
        breaks="what a reader still needs is gone",
    ),
    Mutation(
        name="snapshot names a newer entry than it holds",
        file=f"{_RUNTIME}/engine.py",
        old="                seq=self._journal.last_seq,\n                term=",
        new="                seq=self._journal.last_seq + 1,\n                term=",
        breaks="a restart skips an entry",
    ),
)
