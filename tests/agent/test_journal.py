"""Does the agent's journal give back what was written, and nothing else?"""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.builders import SECOND_NS, an_end, an_order, ordered, started
from penstock_node_agent import journal as journal_module
from penstock_node_agent.core import events
from penstock_node_agent.core.machine import handle
from penstock_node_agent.journal import JOURNAL_NAME, Journal, JournalDamaged
from penstock_node_agent.reaper.disk import Disk


def write(journal: Journal, *given: events.AnyEvent) -> None:
    for event in given:
        handle(journal.state, event)
        journal.add(event)
    journal.commit()


def a_journal(directory: Path) -> Journal:
    journal = Journal(Disk(), str(directory), "n1")
    order = an_order(devices=("D0",))
    write(journal, started(), events.ReaperReady(at_ns=2))
    write(journal, ordered(order), events.Began(at_ns=11 * SECOND_NS, key=order.key))
    write(journal, an_end(order, at_ns=12 * SECOND_NS))
    return journal


def test_the_state_is_the_fold_of_what_was_committed(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    again = Journal(Disk(), str(tmp_path), "n1")
    assert again.state == journal.state
    assert len(again.state.usage) == 1
    third = Journal(Disk(), str(tmp_path), "n1")
    assert third.state == journal.state, "also from a snapshot"


def test_what_was_not_committed_is_gone(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    event = events.ReportsDelivered(count=1)
    handle(journal.state, event)
    journal.add(event)
    assert len(Journal(Disk(), str(tmp_path), "n1").state.reports) == len(journal.state.reports) + 1


def test_a_torn_end_is_cut_off_wherever_it_is_torn(tmp_path: Path) -> None:
    a_journal(tmp_path)
    path = tmp_path / JOURNAL_NAME
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for end in (last, last + 1, last + 8, last + 9, last + 40, len(whole) - 2):
        path.write_bytes(whole[:end])
        journal = Journal(Disk(), str(tmp_path), "n1")
        assert not journal.state.usage, "the last event is the end"
        write(journal, events.SegmentsCut(at_ns=13 * SECOND_NS))
        assert len(Journal(Disk(), str(tmp_path), "n1").state.usage) == 1, (
            "and one goes on behind the cut"
        )


def test_a_damaged_line_before_the_end_is_an_error(tmp_path: Path) -> None:
    a_journal(tmp_path)
    path = tmp_path / JOURNAL_NAME
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"as_of":1', b'"as_of":7', 1))
    with pytest.raises(JournalDamaged):
        Journal(Disk(), str(tmp_path), "n1")


def test_a_grown_journal_becomes_a_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "COMPACT_BYTES", 20_000)
    journal = a_journal(tmp_path)
    for number in range(2_000):
        write(journal, events.BatchNumbered(batch=number))
    assert (tmp_path / JOURNAL_NAME).stat().st_size < 50_000
    assert Journal(Disk(), str(tmp_path), "n1").state == journal.state


def test_only_a_sync_lets_the_reaper_forget(tmp_path: Path) -> None:
    journal = Journal(Disk(), str(tmp_path), "n1")
    journal.add(started())
    assert journal.commit()
    journal.add(events.ReportsDelivered(count=0))
    assert not journal.commit()
    assert journal.commit(sync=True)
    assert journal.commit()
