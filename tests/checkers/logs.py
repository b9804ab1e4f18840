"""Is every byte that a job wrote in LOGS, in its place, or said there to be dropped?

Compares what each run wrote with the chunks that are stored and with the sizes that were told. It
does not know how output travels; a chunk that stands there twice does no harm. Why a container did
not begin stands where its errors would.
"""

from __future__ import annotations

from collections import Counter

from penstock_contracts.journal import JobFinished
from tests.checkers.history import History, LogChunk, Run, Violation
from tests.checkers.leases import Journaled, fold_journal


def check_logs(history: History) -> list[Violation]:
    """Every hole, every wrong byte, every output of nobody or dropped without need, every size told
    wrongly."""
    journaled = fold_journal(history)
    runs = {(run.tenant, run.job_id, run.attempt, run.rank): run for run in history.runs}
    found: list[Violation] = []
    for (tenant, job_id, attempt, rank, stream), chunks in sorted(history.logs.items()):
        run = runs.get((tenant, job_id, attempt, rank))
        if run is None:
            job = journaled.jobs.get(job_id)
            contained = job is not None and job.spec.container is not None
            if any(chunk.payload for chunk in chunks) and not (contained and stream == "stderr"):
                sentence = f"{tenant}/{job_id}/{attempt}/{rank} has output but never ran"
                found.append(Violation(code="log_of_nobody", sentence=sentence, job_id=job_id))
            continue
        found += _right(run, stream, chunks)
    for run in history.runs:
        for stream, size in sorted(run.written.items()):
            key = (run.tenant, run.job_id, run.attempt, run.rank, stream)
            found += _whole(run, stream, size, history.logs.get(key, []))
        found += _told(journaled, run)
    return found + _dropped_for_nothing(history)


def _right(run: Run, stream: str, chunks: list[LogChunk]) -> list[Violation]:
    found = []
    size, output, reached = run.written.get(stream, 0), run.output.get(stream), 0
    for chunk in chunks:
        if chunk.end > size:
            found.append(_of(run, stream, "log_too_long", f"reaches {chunk.end}, it wrote {size}"))
        elif output and chunk.payload and output[chunk.offset : chunk.end] != chunk.payload:
            what = f"differs from what it wrote at {chunk.offset} to {chunk.end}"
            found.append(_of(run, stream, "log_wrong", what))
        if chunk.offset > reached:
            what = f"goes on at {chunk.offset} before what stands at {reached}"
            found.append(_of(run, stream, "log_out_of_order", what))
        reached = max(reached, chunk.end)
    return found


def _whole(run: Run, stream: str, size: int, chunks: list[LogChunk]) -> list[Violation]:
    """What was dropped is not missing, as the stream says so."""
    if run.output_lost:
        return []
    reached = 0
    for chunk in sorted(chunks, key=lambda chunk: chunk.offset):
        if chunk.offset > reached:
            break
        reached = max(reached, chunk.end)
    if reached >= size:
        return []
    return [_of(run, stream, "log_missing", f"ends at {reached}, it wrote {size}")]


def _dropped_for_nothing(history: History) -> list[Violation]:
    """While all that an attempt and its node have ever written fits there, nothing is dropped."""
    of_node: Counter[str] = Counter()
    for run in history.runs:
        of_node[run.node] += sum(run.written.values())
    found = []
    for run in history.runs:
        sizes = sum(run.written.values()), of_node[run.node]
        full = history.spool_bytes is not None and any(
            size > bound for size, bound in zip(sizes, history.spool_bytes, strict=True)
        )
        for stream in sorted(run.written):
            key = (run.tenant, run.job_id, run.attempt, run.rank, stream)
            dropped = sum(chunk.dropped for chunk in history.logs.get(key, ()))
            if dropped and not full:
                what = f"lacks {dropped} bytes, for which there was room on {run.node}"
                found.append(_of(run, stream, "log_dropped_for_nothing", what))
    return found


def _told(journaled: Journaled, run: Run) -> list[Violation]:
    """The end that was reported names the size, and the job's terminal fact repeats it."""
    lease = journaled.leases.get((run.job_id, run.attempt, run.rank))
    told = None if lease is None else lease.exited
    if told is None or told.reason == "lost" or not run.waited:
        return []
    found = []
    job = journaled.jobs.get(run.job_id)
    for stream, size in sorted(run.written.items()):
        said = told.log_bytes.get(stream, 0)
        if said != size:
            found.append(_of(run, stream, "log_size_wrong", f"is told to be {said}, not {size}"))
        name = f"{run.attempt}.{run.rank}.{stream}"
        end = None if job is None else job.end
        if isinstance(end, JobFinished) and end.log_bytes.get(name, 0) != said:
            found.append(_of(run, stream, "log_size_wrong", "has another size in the job's end"))
    return found


def _of(run: Run, stream: str, code: str, what: str) -> Violation:
    return Violation(
        code=code,
        sentence=f"{stream} of {run.job_id}/{run.attempt}/{run.rank} {what}",
        job_id=run.job_id,
        node=run.node,
        at_ns=run.ended_ns or run.began_ns,
    )
