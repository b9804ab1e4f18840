"""With which exit code does a client end, given how its job ended?

The table behind `penstock run --help`. It does not know how the end was learned.
"""

from __future__ import annotations

from penstock_client.cli import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED
from penstock_contracts.jobs import CANCELLED, FAILED, REJECTED, SUCCEEDED, TIMED_OUT
from penstock_contracts.public import JobEvent

EXIT_TIMED_OUT = 124
EXIT_NOT_STARTED = 127
"""As a shell says of a program that it cannot start."""
SIGNAL_BASE = 128
SPAWN_FAILED, OUT_OF_MEMORY, BUDGET = "spawn_failed", "out_of_memory", "budget"

HELP = """\b
Exit codes:
  the job's own exit code
  128 + N  a signal N ended it
  124      its time limit ended it
  130      it was cancelled
  2        refused, or rejected as impossible
  3        the mesh is not there
  127      its program could not be started
  1        it was lost, what it needs is not there, or an output is missing
"""


def exit_code_of(end: JobEvent) -> int:
    """The exit code for a terminal fact."""
    if end.fact == TIMED_OUT:
        return EXIT_TIMED_OUT
    if end.fact == CANCELLED:
        return EXIT_INTERRUPTED
    if end.fact == REJECTED:
        return EXIT_REFUSED
    if end.fact in (SUCCEEDED, FAILED):
        if end.exit_code is not None and not _failed_behind(end):
            return end.exit_code
        if end.signal is not None:
            return SIGNAL_BASE + end.signal
        if end.reason == SPAWN_FAILED:
            return EXIT_NOT_STARTED
    return 0 if end.fact == SUCCEEDED else EXIT_FAILED


def sentence_of(end: JobEvent) -> str:
    """What a person is told where the job's own output and exit code do not say it; else empty."""
    detail = ": ".join(part for part in (end.reason, end.message) if part)
    if end.fact == REJECTED:
        return f"{end.reason or 'rejected'}: {end.message}"
    silent = end.exit_code is None and end.signal is None
    unseen = silent or _failed_behind(end) or end.reason in (OUT_OF_MEMORY, BUDGET)
    if end.fact == FAILED and unseen:
        return f"the job failed{': ' + detail if detail else ''}"
    return ""


def _failed_behind(end: JobEvent) -> bool:
    """Its program went well, and what was to be done behind it did not."""
    return end.fact == FAILED and end.exit_code == 0
