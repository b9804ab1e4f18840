"""Did order only ever go forward?

Journal entries, terms, instants and input cursors, and the cursors that readers publish. It does
not know what the entries mean.
"""

from __future__ import annotations

from bisect import bisect_right

from penstock_contracts.journal import CancelRequested, JobSubmitted, RequestRefused
from penstock_contracts.streams import OWNERS
from tests.checkers.history import Entry, History, Violation
from tests.checkers.leases import surviving

JOURNALS = ("JOBS", "NODES")
_OF_REQUESTS = (JobSubmitted, RequestRefused, CancelRequested)


def check_cursors(history: History) -> list[Violation]:
    """Everything that went back, was repeated, or ran ahead of what it stands for."""
    entries = {"JOBS": history.jobs_entries, "NODES": history.nodes_entries}
    found: list[Violation] = []
    for stream, seen in entries.items():
        if not history.lossy_broker:
            found += _in_order(stream, seen, history.undecodable)
        found += _forward(stream, surviving(seen), lossy=history.lossy_broker)
    if not history.lossy_broker:
        found += _requests_once(history.jobs_entries)
        found += _published(history, entries)
        found += _replayed(history)
    return found


def _in_order(
    stream: str, entries: list[Entry], undecodable: set[tuple[str, int]]
) -> list[Violation]:
    found = []
    expected = 1
    for seen in entries:
        while (stream, expected) in undecodable:
            expected += 1
        seq = seen.entry.seq
        if seq != expected:
            sentence = f"{stream} has {seq} where {expected} was to come"
            found.append(Violation(code="entry_out_of_order", sentence=sentence, at_ns=seen.at_ns))
        expected = seq + 1
    return found


def _forward(stream: str, entries: list[Entry], *, lossy: bool) -> list[Violation]:
    """Cursors go back only when the broker has lost what they stood for."""
    found = []
    term, now_ns = 0, 0
    cursors: dict[str, int] = {}
    writers: dict[int, str] = {}
    ids: set[str] = set()
    for seen in entries:
        entry = seen.entry
        wrong = []
        if entry.term < term:
            wrong.append(("term_went_back", f"term {entry.term} after {term}"))
        if writers.setdefault(entry.term, entry.writer) != entry.writer:
            wrong.append(("term_shared", f"{entry.writer} in the term of {writers[entry.term]}"))
        if entry.entry_id in ids:
            wrong.append(("entry_repeated", f"entry {entry.entry_id} stands twice"))
        if entry.now_ns < now_ns:
            wrong.append(("instant_went_back", f"{entry.now_ns} after {now_ns}"))
        for name, seq in sorted(entry.cursors.items()):
            if seq < cursors.get(name, 0) and not lossy:
                wrong.append(("cursor_went_back", f"{name} {seq} after {cursors[name]}"))
        term, now_ns = max(term, entry.term), max(now_ns, entry.now_ns)
        cursors.update(entry.cursors)
        ids.add(entry.entry_id)
        for code, what in wrong:
            sentence = f"{stream} {entry.seq}: {what}"
            found.append(Violation(code=code, sentence=sentence, at_ns=seen.at_ns))
    return found


def _requests_once(entries: list[Entry]) -> list[Violation]:
    """What an entry decides of a request lies behind the cursor before it, and its own cursor (or,
    for a decision larger than an entry, the next one's) covers it."""
    found = []
    before = 0
    for index, seen in enumerate(entries):
        following = entries[index + 1].entry if index + 1 < len(entries) else seen.entry
        upto = max(
            seen.entry.cursors.get("REQUESTS", 0), following.cursors.get("REQUESTS", 0), before
        )
        for fact in seen.entry.facts:
            if not isinstance(fact, _OF_REQUESTS) or before < fact.request_seq <= upto:
                continue
            code = "request_read_twice" if fact.request_seq <= before else "cursor_behind_facts"
            sentence = (
                f"JOBS {seen.entry.seq} decides REQUESTS {fact.request_seq},"
                f" the cursor goes from {before} to {upto}"
            )
            found.append(Violation(code=code, sentence=sentence, at_ns=seen.at_ns))
        before = max(before, seen.entry.cursors.get("REQUESTS", 0))
    return found


def _published(history: History, entries: dict[str, list[Entry]]) -> list[Violation]:
    """Published cursors only grow, and never say more than their reader has committed."""
    found = []
    newest: dict[tuple[str, str], int] = {}
    times = {stream: [seen.at_ns for seen in seens] for stream, seens in entries.items()}
    for seen in history.cursors:
        key = (seen.stream, seen.reader)
        if seen.seq < newest.get(key, 0):
            sentence = f"{seen.reader} on {seen.stream} says {seen.seq} after {newest[key]}"
            found.append(Violation(code="published_went_back", sentence=sentence, at_ns=seen.at_ns))
        newest[key] = max(seen.seq, newest.get(key, 0))
        journal = _journal_of(seen.reader)
        if journal is None:
            continue
        count = bisect_right(times[journal], seen.at_ns + history.late_ns)
        committed = _committed(entries[journal][:count], journal, seen.stream)
        if seen.seq > committed:
            sentence = (
                f"{seen.reader} needs {seen.stream} no more up to {seen.seq},"
                f" but has committed {committed}"
            )
            found.append(Violation(code="published_ahead", sentence=sentence, at_ns=seen.at_ns))
    return found


def _replayed(history: History) -> list[Violation]:
    """Where each entry can be read, each is folded by everybody who replays a journal."""
    ending = history.ending
    if ending is None or not ending.entries_skipped or history.undecodable:
        return []
    sentence = f"{ending.entries_skipped} entries were skipped on replay, none of them was damaged"
    return [Violation(code="entry_skipped", sentence=sentence, at_ns=ending.faults_stopped_ns)]


def _journal_of(reader: str) -> str | None:
    if reader == "facts":
        return "JOBS"
    return next((name for name in JOURNALS if OWNERS[name] == reader), None)


def _committed(entries: list[Entry], journal: str, stream: str) -> int:
    if not entries:
        return 0
    if stream == journal:
        return entries[-1].entry.seq
    return entries[-1].entry.cursors.get(stream, 0)
