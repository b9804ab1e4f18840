"""How long will a job run?

What it states itself is a bound; what similar jobs took before it is an expectation, learned from
the facts of jobs that succeeded: the median of what went on for as long as this one has, among the
most alike of which enough are known. Whole numbers only, in a bounded memory, and jobs are its
clock: the same facts teach the same. It does not know who waits.
"""

from __future__ import annotations

import re

import msgspec

from penstock_contracts.jobs import JobSpec

KEYS_MAX = 8_192
"""Kinds of jobs that are remembered; of more, those of which none has ended for longest are
forgotten."""
ENOUGH = 5
"""Of fewer no median is taken: what is less alike, but known better, says more."""
WEIGHT = 16
"""A run counts so much at first."""
FADE_AT = 256 * WEIGHT
"""When a kind's runs count so much together they count half: the last few hundred decide."""
BUCKET_BITS = 2
"""Four buckets between two powers of two: a median is at most an eighth off."""
NAME_LETTERS_MAX = 32
BUCKETS_MAX = 180
"""More than instants have."""

_numbered = re.compile(r"[\W_]*\d.*$", re.DOTALL)

Key = tuple[str, ...]


class KindKept(msgspec.Struct, frozen=True):
    """What jobs of one kind took. `runs`: (bucket, weight), shortest first; `at`: the last one's
    number among all that were learned."""

    key: Key
    at: int
    runs: tuple[tuple[int, int], ...]


class RuntimesKept(msgspec.Struct, kw_only=True):
    """What was learned, as a snapshot holds it."""

    seen: int = 0
    kinds: tuple[KindKept, ...] = ()


class _Kind:
    __slots__ = ("at", "runs", "weight")

    def __init__(self, at: int, runs: dict[int, int]) -> None:
        self.at = at
        self.runs = runs
        self.weight = sum(runs.values())

    def learn(self, bucket: int, at: int) -> None:
        self.at = at
        self.runs[bucket] = self.runs.get(bucket, 0) + WEIGHT
        self.weight += WEIGHT
        if self.weight >= FADE_AT:
            halved = ((one, weight // 2) for one, weight in self.runs.items())
            self.runs = {one: weight for one, weight in halved if weight}
            self.weight = sum(self.runs.values())

    def median(self, above: int) -> int | None:
        """The bucket in the middle of those above; None = too few are known."""
        runs = self.runs
        weight = self.weight
        if above >= 0:
            runs = {bucket: one for bucket, one in runs.items() if bucket > above}
            weight = sum(runs.values())
        if weight < ENOUGH * WEIGHT:
            return None
        passed = 0
        for bucket in sorted(runs):
            passed += runs[bucket]
            if 2 * passed >= weight:
                return bucket
        return None


class Runtimes:
    """`learn` each job that succeeded, once, when it is folded as finished."""

    def __init__(self, kept: RuntimesKept | None = None) -> None:
        self._seen = 0
        self._kinds: dict[Key, _Kind] = {}
        if kept is not None:
            self._seen = kept.seen
            self._kinds = {one.key: _Kind(one.at, dict(one.runs)) for one in kept.kinds}

    def keep(self) -> RuntimesKept:
        """For the snapshot; `Runtimes(kept)` answers as this one."""
        kinds = (
            KindKept(key, kind.at, tuple(sorted(kind.runs.items())))
            for key, kind in sorted(self._kinds.items())
        )
        return RuntimesKept(seen=self._seen, kinds=tuple(kinds))

    def learn(self, spec: JobSpec, tenant: str, ran_ms: int) -> None:
        """A job has succeeded, and its work took so long."""
        self._seen += 1
        bucket = bucket_of(ran_ms)
        for key in _keys(spec, tenant):
            kind = self._kinds.get(key)
            if kind is None:
                kind = self._kinds[key] = _Kind(self._seen, {})
            kind.learn(bucket, self._seen)
        if len(self._kinds) > KEYS_MAX:
            latest = sorted(self._kinds.items(), key=lambda one: (-one[1].at, one[0]))
            self._kinds = dict(latest[: KEYS_MAX // 2])

    def expected_ms(self, spec: JobSpec, tenant: str, attained_ms: int = 0) -> int | None:
        """How long a run of it is expected to take in all, when it has run for `attained_ms`
        already; what has gone on for longer than all that is known goes on for as long again. None
        = nothing is known. Never longer than its bound."""
        bound_ms = self.bound_ms(spec)
        expected = self._expected_ms(spec, tenant, attained_ms)
        if expected is None or bound_ms is None:
            return bound_ms if expected is None else expected
        return min(expected, bound_ms)

    def bound_ms(self, spec: JobSpec) -> int | None:
        """After so long its run is over for sure; None = nobody can say."""
        return None if spec.time_limit_s is None else spec.time_limit_s * 1_000

    def _expected_ms(self, spec: JobSpec, tenant: str, attained_ms: int) -> int | None:
        if not self._kinds:
            return None
        above = bucket_of(attained_ms) if attained_ms > 0 else -1
        is_known = False
        for key in _keys(spec, tenant):
            kind = self._kinds.get(key)
            if kind is None:
                continue
            bucket = kind.median(above)
            if bucket is not None:
                return max(middle_ms(bucket), attained_ms)
            is_known |= above >= 0 and kind.weight >= ENOUGH * WEIGHT
        return 2 * attained_ms if is_known else None


def bucket_of(ms: int) -> int:
    """The bucket of a time, as two bits behind its highest one tell."""
    ms = max(1 << BUCKET_BITS, ms)
    shift = ms.bit_length() - 1 - BUCKET_BITS
    return min((shift << BUCKET_BITS) + (ms >> shift) - (1 << BUCKET_BITS), BUCKETS_MAX)


def middle_ms(bucket: int) -> int:
    """What stands for the times in a bucket."""
    shift, part = bucket >> BUCKET_BITS, bucket & ((1 << BUCKET_BITS) - 1)
    return (((2 * (part + (1 << BUCKET_BITS))) + 1) << shift) >> 1


def kind_of(name: str) -> str:
    """What jobs of a series have in common in their names: what stands before any number."""
    return _numbered.sub("", name)[:NAME_LETTERS_MAX]


def _keys(spec: JobSpec, tenant: str) -> tuple[Key, ...]:
    """The kinds a job is of, the most alike first."""
    size = f"{spec.ranks * spec.gpus * spec.gpu_milli}"
    limit = "" if spec.time_limit_s is None else str(spec.time_limit_s)
    return (
        (spec.pool, size, limit, tenant, spec.project, kind_of(spec.name)),
        (spec.pool, size, limit, tenant, spec.project),
        (spec.pool, size, limit),
        (size,),
        (),
    )
