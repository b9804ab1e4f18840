"""When is a job tried again that could not be started?

One that is declined, or cannot be spawned, rests before it is in line again, twice as long each
time in a row; after so many times it is given up. So it costs the mesh a try a minute, and for
minutes only. It does not know why a job cannot be started, nor which nodes are at fault.
"""

from __future__ import annotations

from penstock_scheduler.core.state import Job

NOT_STARTED = frozenset({"declined", "spawn_failed", "prepare_failed"})
"""Ends of attempts that never ran, for reasons that may be the job's own."""
TRIES_MAX = 10
"""A job of which so many attempts in a row could not be started has failed."""
CANNOT_START = "cannot_start"
REST_NS_FIRST = 1_000_000_000
REST_NS_MAX = 60_000_000_000
WOKEN_MAX = 1_000
"""So many are put back in line by one tick: one entry holds them."""


def rest_ns(failed_starts: int) -> int:
    """How long a job rests of which so many attempts in a row were not started. After the first it
    does not: another node may take it at once."""
    if failed_starts < 2:
        return 0
    doublings = min(failed_starts - 2, REST_NS_MAX.bit_length())
    return min(REST_NS_FIRST << doublings, REST_NS_MAX)


def not_started(job: Job, message: str, now_ns: int) -> None:
    """Folds that one more attempt of the job could not be started; `message` says why."""
    job.failed_starts += 1
    job.trouble = message
    rest = rest_ns(job.failed_starts)
    job.rests_until_ns = now_ns + rest if rest else None


def given_up(message: str) -> str:
    """What is said of a job that is not tried again."""
    return f"{TRIES_MAX} attempts in a row could not be started; the last one: {message}"


class RestingJobs:
    """Jobs that wait, but not in line. Derived from the jobs themselves."""

    def __init__(self) -> None:
        self._until_ns: dict[str, int] = {}
        self._tenants: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._until_ns)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._until_ns

    def of(self, tenant: str) -> int:
        """How many of the tenant's jobs rest."""
        return self._tenants.get(tenant, 0)

    def add(self, job: Job, until_ns: int) -> None:
        self.discard(job)
        self._until_ns[job.spec.job_id] = until_ns
        self._tenants[job.tenant] = self.of(job.tenant) + 1

    def discard(self, job: Job) -> None:
        """It rests no more; one that did not changes nothing."""
        if self._until_ns.pop(job.spec.job_id, None) is None:
            return
        left = self.of(job.tenant) - 1
        if left:
            self._tenants[job.tenant] = left
        else:
            del self._tenants[job.tenant]

    def due(self, now_ns: int) -> tuple[str, ...]:
        """Those that have rested, longest first."""
        if not self._until_ns:
            return ()
        ready = sorted(
            (until, job_id) for job_id, until in self._until_ns.items() if until <= now_ns
        )
        return tuple(job_id for _, job_id in ready[:WOKEN_MAX])
