"""When will what runs have ended, and from when on does something fit?

What a job states of its time bounds it, and what similar ones took is expected of it; of whom
neither is known, it is assumed to go on for long. All of the fleet at once, at any instant to come.
It does not know for whom it is asked.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from penstock_scheduler.core.orders.room import order_units
from penstock_scheduler.core.packing.layout import CPU, FREE, MEMORY, UNITS, Array
from penstock_scheduler.core.placing.placement import Placed
from penstock_scheduler.core.queue.keeping.bounds import END_MARGIN_S
from penstock_scheduler.core.queue.keeping.futures import place_in, room_if, write
from penstock_scheduler.core.queue.keeping.places import Place
from penstock_scheduler.core.shapes import Shape
from penstock_scheduler.core.state import Lease, LeaseId, Node

if TYPE_CHECKING:
    from penstock_contracts.jobs import JobSpec
    from penstock_scheduler.core.fold import State

END_UNKNOWN_MS = 7 * 86_400_000
"""From now on, where nothing is known: behind all that is."""
LATE_MS_MIN = 10_000
"""What should have ended by now is given so much more, or half of what it has had."""
WINDOWS_MAX = 16
"""So many times between reservations are looked at."""


class Start(NamedTuple):
    """`at_ms` is never earlier than what is expected to run lets it be."""

    at_ms: int
    placed: Placed


class _Leases(NamedTuple):
    """Of each lease: when it ends, its column, what it holds; and of each device held the same."""

    ends: Array
    columns: Array
    held: Array
    device_ends: Array
    devices: Array
    milli: Array


def expected_end_ms(state: State, lease: Lease, now_ms: int) -> int:
    """By when the lease is expected to have given back what it holds; behind now."""
    spec, tail_ms = lease.spec, 1000 * END_MARGIN_S
    stopped_ms = now_ms + 1000 * spec.grace_s + tail_ms
    job = state.jobs.get(lease.job_id)
    if lease.stop_reason or job is None or job.attempt != lease.attempt:
        return stopped_ms
    begun_ms = now_ms if job.started_ms is None else job.started_ms
    attained_ms = max(0, now_ms - begun_ms)
    end_ms = now_ms + END_UNKNOWN_MS
    took_ms = expected_ms(state, spec, lease.tenant, attained_ms)
    if took_ms is not None:
        end_ms = begun_ms + took_ms + tail_ms
        if end_ms <= now_ms:
            end_ms = now_ms + max(LATE_MS_MIN, attained_ms // 2)
    if spec.time_limit_s is not None:
        limit_ms = begun_ms + 1000 * spec.time_limit_s + tail_ms
        end_ms = min(end_ms, limit_ms if limit_ms > now_ms else stopped_ms)
    return end_ms


def expected_ms(state: State, spec: JobSpec, tenant: str, attained_ms: int = 0) -> int | None:
    """How long a run is expected to take in all, by what similar ones took."""
    if not state.rules.held.policy.predicts:
        return None
    return state.runtimes.expected_ms(spec, tenant, attained_ms)


class Ends:
    """As of one instant. Made out when it is first asked for."""

    def __init__(self, state: State, now_ns: int) -> None:
        self._state = state
        self.now_ms = now_ns // 1_000_000
        self._by_lease: dict[LeaseId, int] = {}
        self._by_job: dict[tuple[str, int], int] = {}
        self._leases: _Leases | None = None

    def of(self, lease_id: LeaseId) -> int:
        """When the lease is expected to end."""
        end_ms = self._by_lease.get(lease_id)
        if end_ms is None:
            job = lease_id[:2]
            end_ms = self._by_job.get(job)
            if end_ms is None:
                lease = self._state.leases[lease_id]
                end_ms = expected_end_ms(self._state, lease, self.now_ms)
                end_ms = -(-end_ms // 1000) * 1000
                self._by_job[job] = end_ms
            self._by_lease[lease_id] = end_ms
        return end_ms

    def first_fit(self, shape: Shape, job_id: str, *, beside: bool = False) -> Start | None:
        """The earliest instant at which a job of the shape has a place; None = none does, whoever
        ends. What is kept for itself does not count, what is kept for others does until they have
        ended too; `beside`: for ever."""
        state = self._state
        others = [place for place in state.places if place.fact.job_id != job_id and not beside]
        instants = self._instants(others)
        for first_ms, last_ms in self._windows(shape):
            begin = bisect_left(instants, first_ms)
            end = len(instants) if last_ms is None else bisect_left(instants, last_ms)
            found = self._first_in([first_ms, *instants[begin:end]], shape, job_id, others)
            if found is not None:
                return found
        return None

    def _first_in(
        self, instants: list[int], shape: Shape, job_id: str, others: list[Place]
    ) -> Start | None:
        """Of instants between which only more becomes free."""
        low, high = 0, len(instants) - 1
        placed = self._place_at(instants[high], shape, job_id, others)
        while placed is not None and low < high:
            middle = (low + high) // 2
            earlier = self._place_at(instants[middle], shape, job_id, others)
            if earlier is None:
                low = middle + 1
            else:
                high, placed = middle, earlier
        return None if placed is None else Start(instants[high], placed)

    def _windows(self, shape: Shape) -> list[tuple[int, int | None]]:
        """Times within which no reservation begins or ends to count."""
        turns: set[int] = set()
        for option in (shape, *shape.alternatives):
            turns.update(self._state.reservations.turns(option, self.now_ms))
        begins = [self.now_ms, *sorted(turns)][:WINDOWS_MAX]
        return list(zip(begins, [*begins[1:], None], strict=True))

    def _instants(self, others: list[Place]) -> list[int]:
        found = set(self._made_out().ends.tolist())
        for name in self._state.places.nodes():
            node = self._state.nodes.get(name)
            if node is not None:
                found.update(map(self.of, node.leases))
        found.update(end for place in others if (end := self._end_of(place)) is not None)
        return sorted(found)

    def _end_of(self, place: Place) -> int | None:
        """When whoever has the place is expected to have ended."""
        job = self._state.jobs[place.fact.job_id]
        spec = job.spec.resolved(place.fact.alternative)
        took_ms = expected_ms(self._state, spec, job.tenant)
        if spec.time_limit_s is not None:
            took_ms = min(1000 * spec.time_limit_s, took_ms or 1000 * spec.time_limit_s)
        if took_ms is None:
            return None
        end_ms = max(place.fact.at_ms, self.now_ms) + took_ms + 1000 * END_MARGIN_S
        return -(-end_ms // 1000) * 1000

    def _place_at(
        self, at_ms: int, shape: Shape, job_id: str, others: list[Place]
    ) -> Placed | None:
        state, leases = self._state, self._made_out()
        fleet = state.capacity.packer.fleet.copy()
        gone = leases.ends <= at_ms
        columns = leases.columns[gone]
        for row, held in zip((CPU, MEMORY, UNITS), leases.held[:, gone], strict=True):
            np.add.at(fleet.nodes[row], columns, held)
        freed = leases.device_ends <= at_ms
        where = (leases.devices[0, freed], leases.devices[1, freed])
        np.add.at(fleet.devices[FREE], where, leases.milli[freed])
        lifted = {job_id}
        lifted.update(
            place.fact.job_id
            for place in others
            if (end := self._end_of(place)) is not None and end <= at_ms
        )
        ended: set[LeaseId] = set()
        for name in state.places.nodes():
            node = state.nodes.get(name)
            if node is not None:
                ended.update(one for one in node.leases if self.of(one) <= at_ms)
        for name in state.places.nodes():
            room = room_if(state, name, ended, lifted)
            if room is not None:
                write(fleet, name, room)
        if shape.apart:
            ended.update(one for one in state.leases if self.of(one) <= at_ms)
        return place_in(fleet, shape, state, ended, at_ms)

    def _made_out(self) -> _Leases:
        """Of nodes on which nothing is kept; the others are made out one by one."""
        if self._leases is not None:
            return self._leases
        state, fleet = self._state, self._state.capacity.packer.fleet
        rows: list[tuple[int, int, int, int, int]] = []
        devices: list[tuple[int, int, int, int]] = []
        kept = state.places.nodes()
        for name, node in state.nodes.items():
            if not node.leases or not node.schedulable or name in kept:
                continue
            column = fleet.columns[name]
            index = _index_of(node)
            for lease_id in node.leases:
                lease, end = state.leases[lease_id], self.of(lease_id)
                units = order_units(lease.spec)
                rows.append((end, column, lease.cpu_milli, lease.memory_mib, units))
                devices += (
                    (end, column, index[uuid], lease.gpu_milli)
                    for uuid in lease.uuids
                    if uuid in index
                )
        table = np.array(rows, np.int64).reshape(-1, 5).T
        slots = np.array(devices, np.int64).reshape(-1, 4).T
        self._leases = _Leases(table[0], table[1], table[2:], slots[0], slots[1:3], slots[3])
        return self._leases


def _index_of(node: Node) -> dict[str, int]:
    return {uuid: index for index, (uuid, _, _) in enumerate(node.image.devices)}
