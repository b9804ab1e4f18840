"""Had each device at most one holder at every moment?

Counts twice: what really ran on a device (where the work runs), and what the journal had given away
(devices, processors and memory of each node), unless the broker has lost some of that. No
tolerance. It does not ask whether a run was allowed.
"""

from __future__ import annotations

from collections import defaultdict

from penstock_contracts.jobs import GPU_MILLI_WHOLE
from penstock_contracts.journal import LeaseGranted, NodeForgotten, NodeImaged, RankReleased
from tests.checkers.history import History, Run, Violation
from tests.checkers.leases import Lease, RankId, facts_of, granted

Place = tuple[str, str]
"""(node, device)."""


def check_holders(history: History) -> list[Violation]:
    """Every device that two held at once, every grant beyond what a node has."""
    shared = _devices_shared(history)
    return shared if history.lossy_broker else [*shared, *_Capacity().walk(history)]


def _devices_shared(history: History) -> list[Violation]:
    by_device: dict[Place, list[Run]] = defaultdict(list)
    for run in history.runs:
        for device in run.devices:
            by_device[run.node, device].append(run)
    found: list[Violation] = []
    for (node, device), runs in sorted(by_device.items()):
        found += _overlaps(node, device, runs)
    return found


def _overlaps(node: str, device: str, runs: list[Run]) -> list[Violation]:
    found: list[Violation] = []
    here: list[Run] = []
    for run in sorted(runs, key=lambda run: (run.began_ns, run.job_id, run.rank)):
        here = [other for other in here if other.ended_ns is None or other.ended_ns > run.began_ns]
        here.append(run)
        if sum(other.gpu_milli for other in here) > GPU_MILLI_WHOLE:
            names = " and ".join(f"{o.job_id}/{o.attempt}/{o.rank}" for o in here)
            found.append(
                Violation(
                    code="device_shared",
                    sentence=f"{names} ran on {device} of {node} at the same moment",
                    job_id=run.job_id,
                    node=node,
                    device=device,
                    at_ns=run.began_ns,
                )
            )
    return found


class _Capacity:
    """What each node has left, replayed from the journal."""

    def __init__(self) -> None:
        self.images: dict[str, NodeImaged] = {}
        self.held: dict[RankId, Lease] = {}
        self.found: list[Violation] = []

    def walk(self, history: History) -> list[Violation]:
        for at_ns, seq, fact in facts_of(history.jobs_entries):
            if isinstance(fact, NodeImaged):
                self.images[fact.node] = fact
            elif isinstance(fact, NodeForgotten):
                self.images.pop(fact.node, None)
            elif isinstance(fact, LeaseGranted):
                self._grant(at_ns, seq, fact)
            elif isinstance(fact, RankReleased):
                self._release(at_ns, fact)
        return self.found

    def _grant(self, at_ns: int, seq: int, fact: LeaseGranted) -> None:
        for key, lease in granted(at_ns, seq, fact):
            if key in self.held:
                self._note(at_ns, "granted_twice", f"{_name(key)} was granted twice", fact.job_id)
            self.held[key] = lease
        for node in sorted({place.node for place in fact.ranks}):
            self._check_node(at_ns, seq, node, fact.job_id)

    def _check_node(self, at_ns: int, seq: int, node: str, job_id: str) -> None:
        image = self.images.get(node)
        if image is None:
            self._note(at_ns, "granted_nowhere", f"JOBS {seq} grants on {node}, unknown", job_id)
            return
        if image.liveness != "alive" or image.cordoned or image.draining:
            self._note(at_ns, "granted_on_closed_node", f"JOBS {seq} grants on {node}", job_id)
        here = [lease for lease in self.held.values() if lease.node == node]
        cpu_milli = sum(lease.cpu_milli for lease in here)
        memory_mib = sum(lease.memory_mib for lease in here)
        if cpu_milli > image.cpu_milli or memory_mib > image.memory_mib:
            sentence = f"JOBS {seq} gives {cpu_milli} milli-CPU, {memory_mib} MiB of {node} away"
            self._note(at_ns, "node_overcommitted", sentence, job_id, node)
        used: dict[str, int] = defaultdict(int)
        for lease in here:
            for device in lease.devices:
                used[device] += lease.gpu_milli
        names = {uuid for uuid, _, _ in image.devices}
        for device, milli in sorted(used.items()):
            if milli > GPU_MILLI_WHOLE:
                sentence = f"JOBS {seq} has {milli} milli of {device} on {node} leased"
                self._note(at_ns, "device_leased_twice", sentence, job_id, node, device)
        mine = (d for le in here if le.lease_seq == seq for d in le.devices)
        for device in sorted(set(mine)):
            if device not in names or device in image.unhealthy:
                sentence = f"JOBS {seq} grants {device}, which {node} has not or is not healthy"
                self._note(at_ns, "device_unusable", sentence, job_id, node, device)

    def _release(self, at_ns: int, fact: RankReleased) -> None:
        key = (fact.job_id, fact.attempt, fact.rank)
        if self.held.pop(key, None) is None:
            sentence = f"{_name(key)} was released without being held"
            self._note(at_ns, "released_unheld", sentence, fact.job_id)

    def _note(
        self,
        at_ns: int,
        code: str,
        sentence: str,
        job_id: str,
        node: str | None = None,
        device: str | None = None,
    ) -> None:
        self.found.append(
            Violation(
                code=code, sentence=sentence, job_id=job_id, node=node, device=device, at_ns=at_ns
            )
        )


def _name(key: RankId) -> str:
    return f"rank {key[2]} of attempt {key[1]} of job {key[0]}"
