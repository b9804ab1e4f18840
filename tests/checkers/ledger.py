"""Does the ledger say what really ran, to the millisecond and once?

Compares its lines with the leases of the journal and with the runs of the world, measured on each
host's own boot time. An instant is written down in whole milliseconds, so a run and its lines may
differ by less than one. It does not know prices.
"""

from __future__ import annotations

from collections import defaultdict

from penstock_contracts.journal import JobFinished, JobRejected, JobSubmitted
from tests.checkers.history import History, Line, Run, Violation
from tests.checkers.leases import Journaled, Lease, RankId, facts_of, fold_journal

MS_NS = 1_000_000
STALLS = ("reaper frozen", "host disk slow")
"""While this is done to a host, its reaper learns late of an end, and nobody else knows of it."""
STALL_NS_MAX = 30_000_000_000
"""How long after such a time its last wait for the disk may go on."""

Place = tuple[RankId, str]
"""A rank's lease on one device (or on the processors: empty)."""


def check_ledger(history: History) -> list[Violation]:
    """Everything billed twice, for nothing, too long or too short, and what the audits found."""
    journaled = fold_journal(history)
    by_seq = {(le.lease_seq, le.job_id, le.rank): key for key, le in journaled.leases.items()}
    lines: dict[Place, list[Line]] = defaultdict(list)
    found: list[Violation] = []
    for line in history.ledger:
        key = by_seq.get(line.lease_key)
        if key is None:
            found.append(_of(line, "billed_without_lease", "belongs to no lease"))
            continue
        found += _own(line, journaled.leases[key])
        lines[key, line.device].append(line)
    for held in lines.values():
        found += _contiguous(held)
    found += _equal(history, journaled, lines)
    found += _audited(history, journaled)
    return found


def _own(line: Line, lease: Lease) -> list[Violation]:
    devices = lease.devices or ("",)
    milli = lease.gpu_milli if lease.devices else lease.cpu_milli
    if (line.node, line.milli) == (lease.node, milli) and line.device in devices:
        return []
    said = f"names {line.milli} milli of {line.device or 'the processors'} on {line.node}"
    return [_of(line, "billed_elsewhere", f"{said}, its lease does not")]


def _contiguous(lines: list[Line]) -> list[Violation]:
    """Numbered from 0 without a gap, each beginning where the last ended."""
    found = []
    lines.sort(key=lambda line: line.seq)
    expected, t_ms = 0, lines[0].t0_ms
    for line in lines:
        if line.seq < expected:
            found.append(_of(line, "billed_twice", f"stands there twice (segment {line.seq})"))
        elif line.seq > expected:
            found.append(_of(line, "segment_missing", f"comes after {expected - 1}"))
        elif line.t0_ms < t_ms:
            found.append(_of(line, "billed_twice", f"begins at {line.t0_ms}, before {t_ms}"))
        elif line.t0_ms > t_ms:
            found.append(_of(line, "segment_missing", f"begins at {line.t0_ms}, not {t_ms}"))
        if line.t1_ms < line.t0_ms:
            found.append(_of(line, "billed_backwards", "ends before it begins"))
        expected, t_ms = line.seq + 1, line.t1_ms
    return found


def _equal(
    history: History, journaled: Journaled, lines: dict[Place, list[Line]]
) -> list[Violation]:
    runs = {(run.job_id, run.attempt, run.rank): run for run in history.runs}
    places = set(lines)
    for key, run in runs.items():
        places |= {(key, device) for device in run.devices or ("",)}
    tolerance_ns = MS_NS + 2 * history.stamp_ms * MS_NS
    found = []
    for key, device in sorted(places):
        run, lease = runs.get(key), journaled.leases.get(key)
        billed = lines.get((key, device), [])
        billed_ns = sum(line.t1_ms - line.t0_ms for line in billed) * MS_NS
        if run is None:
            if billed_ns >= tolerance_ns:
                found.append(_of(billed[0], "billed_without_run", "is of work that never ran"))
            continue
        ran_ns = _ran_ns(run)
        if ran_ns is None:
            continue
        what = f"{billed_ns / MS_NS:g} ms are billed, it ran {ran_ns / MS_NS:g} ms"
        if billed_ns - ran_ns >= tolerance_ns + _learnt_late_ns(history, run):
            found.append(_on(run, device, "billed_too_much", what))
        elif ran_ns - billed_ns >= tolerance_ns and _must_be_billed(history, run, lease):
            found.append(_on(run, device, "billed_too_little", what))
    return found


def _ran_ns(run: Run) -> int | None:
    """How long it ran on its host's own clock; None while it still does."""
    return None if run.ended_boot_ns is None else run.ended_boot_ns - run.began_boot_ns


def _learnt_late_ns(history: History, run: Run) -> int:
    """How long after its end its reaper may have been unable to look."""
    late_ns = 0
    for fault in history.faults:
        if fault.kind in STALLS and fault.node == run.node and fault.until_ns is not None:
            until_ns = fault.until_ns + STALL_NS_MAX
            if run.ended_ns is not None and fault.at_ns <= run.ended_ns < until_ns:
                late_ns = max(late_ns, until_ns - run.ended_ns)
    return late_ns


def _must_be_billed(history: History, run: Run, lease: Lease | None) -> bool:
    """The whole of a run can be known only if its reaper saw the end of it. A host that was
    rebooted since may have lost its notes, unless it had told the end before."""
    if not run.waited:
        return False
    boot = next((b for b in history.boots if (b.node, b.boot_id) == (run.node, run.boot_id)), None)
    if boot is None or boot.ended_ns is None:
        return True
    told = lease is not None and lease.exited is not None and lease.exited.reason != "lost"
    return told and not boot.destroyed


def _audited(history: History, journaled: Journaled) -> list[Violation]:
    """What the mesh's own audits say at the end."""
    ending = history.ending
    if ending is None:
        return []
    found = []
    audits = {
        "scheduler": ending.scheduler,
        "inventory": ending.inventory,
        "metering": ending.metering,
    }
    at_ns = ending.drained_ns or ending.faults_stopped_ns
    for name, audit in audits.items():
        for finding in () if audit is None else audit.findings:
            if finding.code not in history.expected_findings:
                sentence = f"{name} finds {finding.code}: {finding.sentence}"
                found.append(Violation(code="audit_finding", sentence=sentence, at_ns=at_ns))
    metering = ending.metering
    if metering is None:
        return found
    if metering.unaccounted_ms != 0:
        sentence = f"{metering.unaccounted_ms} ms lie between the ledger and the agents' counters"
        found.append(Violation(code="unaccounted", sentence=sentence, at_ns=at_ns))
    total = sum(metering.device_milli_ms.values())
    if total != metering.capacity_milli_ms:
        sentence = f"device states sum to {total}, capacity is {metering.capacity_milli_ms}"
        found.append(Violation(code="not_conserved", sentence=sentence, at_ns=at_ns))
    if not history.lossy_broker:
        found += _counted(history, metering.jobs_seq, metering.accepted, metering.finished, at_ns)
    return found


def _counted(
    history: History, upto_seq: int, accepted: int, finished: dict[str, int], at_ns: int
) -> list[Violation]:
    really: dict[str, int] = defaultdict(int)
    taken = 0
    for _, seq, fact in facts_of(history.jobs_entries):
        if seq > upto_seq:
            break
        taken += isinstance(fact, JobSubmitted)
        if isinstance(fact, JobRejected | JobFinished):
            really["rejected" if isinstance(fact, JobRejected) else fact.state] += 1
    if (taken, dict(really)) == (accepted, finished):
        return []
    sentence = f"metering counts {accepted} jobs, {finished}; there were {taken}, {dict(really)}"
    return [Violation(code="miscounted", sentence=sentence, at_ns=at_ns)]


def _of(line: Line, code: str, what: str) -> Violation:
    return Violation(
        code=code,
        sentence=f"a segment of {line.job_id} (lease {line.lease_seq}, rank {line.rank}) {what}",
        job_id=line.job_id,
        node=line.node,
        device=line.device or None,
    )


def _on(run: Run, device: str, code: str, what: str) -> Violation:
    return Violation(
        code=code,
        sentence=f"rank {run.rank} of attempt {run.attempt} of job {run.job_id}: {what}",
        job_id=run.job_id,
        node=run.node,
        device=device or None,
        at_ns=run.began_ns,
    )
