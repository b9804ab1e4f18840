"""Did each grant keep what its job had demanded?

Judges every grant from facts alone: what was asked, how the nodes were imaged and who held what at
that moment. It does not know how places are found, nor what ran there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from penstock_contracts.asks import LINK, NODE, SITE
from penstock_contracts.jobs import CPU_MILLI_DEFAULT, GPU_MILLI_WHOLE, JobSpec
from penstock_contracts.journal import (
    JobSubmitted,
    LeaseGranted,
    NodeForgotten,
    NodeImaged,
    RankPlacement,
    RankReleased,
)
from penstock_contracts.work import CONTAINERS
from tests.checkers.history import History, Run, Violation
from tests.checkers.leases import RankId, facts_of

Domain = tuple[str, ...]
Broken = tuple[str, str]
"""(code, what is wrong)."""
Apart = tuple[str, str]
"""(tenant, word)."""


def check_demands(history: History) -> list[Violation]:
    """Every grant that breaks a demand, and every two runs that were to be kept apart."""
    walk = _Walk()
    return [*walk.through(history), *_together(history, walk.apart)]


class _Walk:
    """Fact by fact. `apart`: what each job that keeps apart from others has asked."""

    def __init__(self) -> None:
        self.apart: dict[str, Apart] = {}
        self._specs: dict[str, JobSpec] = {}
        self._images: dict[str, NodeImaged] = {}
        self._held: dict[RankId, str] = {}
        """The node of each rank that holds a lease."""

    def through(self, history: History) -> list[Violation]:
        found: list[Violation] = []
        for at_ns, seq, fact in facts_of(history.jobs_entries):
            if isinstance(fact, JobSubmitted):
                self._specs[fact.spec.job_id] = fact.spec
                if fact.spec.apart:
                    self.apart[fact.spec.job_id] = (fact.tenant, fact.spec.apart)
            elif isinstance(fact, NodeImaged):
                self._images[fact.node] = fact
            elif isinstance(fact, NodeForgotten):
                self._images.pop(fact.node, None)
            elif isinstance(fact, RankReleased):
                self._held.pop((fact.job_id, fact.attempt, fact.rank), None)
            elif isinstance(fact, LeaseGranted):
                for code, what in self._broken_by(fact):
                    sentence = f"JOBS {seq} grants {fact.job_id} {what}"
                    found.append(
                        Violation(code=code, sentence=sentence, job_id=fact.job_id, at_ns=at_ns)
                    )
                for place in fact.ranks:
                    self._held[fact.job_id, fact.attempt, place.rank] = place.node
        return found

    def _broken_by(self, fact: LeaseGranted) -> Iterator[Broken]:
        spec = self._specs.get(fact.job_id)
        if spec is None or any(place.node not in self._images for place in fact.ranks):
            return  # others find that
        if fact.alternative > len(spec.alternatives):
            yield "no_such_alternative", f"alternative {fact.alternative}, which it has not"
            return
        asked = spec.resolved(fact.alternative)
        yield from _sizes(asked, fact)
        for place in fact.ranks:
            yield from self._wrong_devices(asked, place)
            labels = self._images[place.node].labels
            if spec.container is not None and CONTAINERS not in self._images[place.node].offers:
                yield "not_offered", f"{place.node}, which has no containers"
            if asked.node_labels.items() - labels.items():
                yield "label_missing", f"{place.node}, which has not {asked.node_labels}"
        if asked.near_required and not self._is_near(asked.near, fact.ranks):
            yield "not_near", f"ranks that are not in one {asked.near}"
        if asked.spread and spec.ranks > asked.spread_ranks:
            yield from self._crowded(asked, fact.ranks)
        if spec.apart:
            yield from self._not_apart(fact)

    def _wrong_devices(self, asked: JobSpec, place: RankPlacement) -> Iterator[Broken]:
        built_in = {uuid: (model, mib) for uuid, model, mib in self._images[place.node].devices}
        for uuid in place.devices:
            model, memory_mib = built_in.get(uuid, ("", None))
            if asked.gpu_models and model not in asked.gpu_models:
                yield "wrong_model", f"{uuid}, {model} and none of {asked.gpu_models}"
            wanted = asked.gpu_memory_mib
            share = (memory_mib or 0) * asked.gpu_milli
            if wanted is not None and share < wanted * GPU_MILLI_WHOLE:
                yield "too_little_memory", f"{asked.gpu_milli} milli of {uuid}, {memory_mib} MiB"

    def _is_near(self, level: str, ranks: tuple[RankPlacement, ...]) -> bool:
        """One device is near itself and one node too, wherever it may be."""
        if level == LINK:
            devices = {(place.node, uuid) for place in ranks for uuid in place.devices}
            links = {self._link_of(node, uuid) for node, uuid in devices}
            return len(devices) == 1 or (len(links) == 1 and "" not in links)
        nodes = {place.node for place in ranks}
        domains = {self._domain_of(node, level) for node in nodes}
        return len(nodes) == 1 or (len(domains) == 1 and None not in domains)

    def _crowded(self, asked: JobSpec, ranks: tuple[RankPlacement, ...]) -> Iterator[Broken]:
        counts = Counter(self._domain_of(place.node, asked.spread) for place in ranks)
        for domain, count in counts.items():
            if domain is None:
                yield "not_spread", f"nodes of which the {asked.spread} is not known"
            elif count > asked.spread_ranks:
                yield "not_spread", f"{count} ranks in {asked.spread} {'/'.join(domain)}"

    def _not_apart(self, fact: LeaseGranted) -> Iterator[Broken]:
        nodes = {place.node for place in fact.ranks}
        for (job_id, _, _), node in self._held.items():
            other = job_id != fact.job_id
            if other and node in nodes and self.apart.get(job_id) == self.apart[fact.job_id]:
                yield "not_apart", f"{node} beside {job_id}"

    def _domain_of(self, node: str, level: str) -> Domain | None:
        """None: nobody knows."""
        labels = self._images[node].labels
        if level == NODE:
            return (node,)
        if level == SITE:
            return (labels["site"],) if labels.get("site") else None
        return (labels.get("site", ""), labels["rack"]) if labels.get("rack") else None

    def _link_of(self, node: str, uuid: str) -> str:
        image = self._images[node]
        links = dict(zip((device[0] for device in image.devices), image.links, strict=False))
        return links.get(uuid, "")


def _sizes(asked: JobSpec, fact: LeaseGranted) -> Iterator[Broken]:
    cpu_milli = CPU_MILLI_DEFAULT if asked.cpu_milli is None else asked.cpu_milli
    if (fact.cpu_milli, fact.memory_mib) != (cpu_milli, asked.memory_mib or 0):
        yield "other_sizes", f"{fact.cpu_milli} milli-CPU and {fact.memory_mib} MiB"
    if asked.gpus and fact.gpu_milli != asked.gpu_milli:
        yield "other_sizes", f"{fact.gpu_milli} milli of each device, not {asked.gpu_milli}"
    for place in fact.ranks:
        if len(set(place.devices)) != asked.gpus:
            yield "other_sizes", f"{place.devices} for rank {place.rank}, not {asked.gpus} devices"


def _together(history: History, apart: dict[str, Apart]) -> list[Violation]:
    """Runs of different jobs on one node at the same moment that were to be kept apart."""
    groups: dict[tuple[str, Apart], list[Run]] = {}
    for run in history.runs:
        if run.job_id in apart:
            groups.setdefault((run.node, apart[run.job_id]), []).append(run)
    found = []
    for (node, (_, word)), runs in groups.items():
        here: list[Run] = []
        for run in sorted(runs, key=lambda run: run.began_ns):
            here = [one for one in here if one.ended_ns is None or one.ended_ns > run.began_ns]
            for other in here:
                if other.job_id != run.job_id:
                    sentence = f"{other.job_id} and {run.job_id}, apart={word}, ran both on {node}"
                    found.append(
                        Violation(
                            code="ran_together", sentence=sentence, job_id=run.job_id, node=node,
                            at_ns=run.began_ns,
                        )
                    )  # fmt: skip
            here.append(run)
    return found
