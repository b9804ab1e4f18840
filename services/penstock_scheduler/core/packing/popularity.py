"""What will be asked for, as far as the jobs seen tell?

Counts shapes as they come; old ones fade. It says when it has learned enough that prices should be
made anew, and begins with a guess that soon weighs nothing. It does not know time: jobs are its
clock, so that the same jobs teach the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from penstock_scheduler.core.packing.layout import MILLI
from penstock_scheduler.core.packing.shapes import PackShape, RowKey, row_key
from penstock_scheduler.core.packing.workload import CPU_MILLI_PER_GPU, Workload, workload_of

FADE_EVERY = 20_000
"""After so many jobs all counts are halved: of a month's workload the last weeks decide."""
SEEN_WEIGHT = 64
"""A job counts so much when seen; halved ten times it counts nothing."""
SHAPES_MAX = 4_096
"""Distinct shapes remembered; the rarest are forgotten first."""
LEARN_FIRST = 32
LEARN_EVERY = 2_048
"""Prices are made anew after 32 jobs, then whenever the jobs seen have grown by half, at the latest
after so many."""
PRIOR = ((1, 1000, 16), (1, 500, 8), (1, 250, 4), (2, 1000, 2), (4, 1000, 1), (8, 1000, 1))
"""(devices, share, weight in jobs) of the guess for a fleet that has seen nothing."""


class Popularity:
    """`see` every job once when it is submitted. `due_at`: so many jobs seen make it learn."""

    def __init__(self, cpu_milli_per_gpu: int = CPU_MILLI_PER_GPU) -> None:
        self.counts: dict[RowKey, int] = {}
        self.seen = 0
        self.due_at = LEARN_FIRST
        for gpus, milli, jobs in PRIOR:
            cpu_milli = cpu_milli_per_gpu * gpus * milli // MILLI
            key = RowKey(cpu_milli, gpus, milli, 0, ())
            self.counts[key] = jobs * SEEN_WEIGHT // 8

    def see(self, shape: PackShape, ranks: int = 1) -> bool:
        """Counts one job; True when the workload should be made anew."""
        key = row_key(shape)
        self.counts[key] = self.counts.get(key, 0) + SEEN_WEIGHT * ranks
        self.seen += 1
        if self.seen % FADE_EVERY == 0:
            self._fade()
        elif len(self.counts) > SHAPES_MAX:
            self._forget()
        if self.seen < self.due_at:
            return False
        self.due_at = self.seen + min(LEARN_EVERY, max(LEARN_FIRST, self.seen // 2))
        return True

    def unsee(self, shape: PackShape, ranks: int = 1) -> None:
        """A job that was seen can run nowhere: it is no guide."""
        key = row_key(shape)
        count = self.counts.get(key, 0) - SEEN_WEIGHT * ranks
        self.counts.pop(key, None)
        if count > 0:
            self.counts[key] = count

    def workload(
        self, devices: Mapping[str, int], waiting: Iterable[tuple[PackShape, int]] = ()
    ) -> Workload:
        """The facts as they are now. `devices`: by model. `waiting`: shapes in the queue with
        their numbers; these will be asked for next, so they count once more."""
        counts = dict(self.counts)
        for shape, jobs in waiting:
            key = row_key(shape)
            counts[key] = counts.get(key, 0) + jobs * SEEN_WEIGHT
        return workload_of(counts, devices)

    def _fade(self) -> None:
        halved = ((key, count // 2) for key, count in self.counts.items())
        self.counts = {key: count for key, count in halved if count}

    def _forget(self) -> None:
        kept = sorted(self.counts.items(), key=lambda one: (-one[1], one[0]))
        self.counts = dict(kept[: SHAPES_MAX // 2])
