"""Was nobody told that a job can never run which the fleet could hold?

Looks at the nodes of its pool as they were imaged when a job was called impossible, all of them
empty and well.
It counts ranks as a person would, one node after the other. It does not know what was free.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from penstock_contracts.asks import LINK, NODE, SITE
from penstock_contracts.jobs import CPU_MILLI_DEFAULT, GPU_MILLI_WHOLE, JobSpec
from penstock_contracts.journal import JobRejected, NodeImaged
from penstock_contracts.work import CONTAINERS
from tests.checkers.history import History, Violation
from tests.checkers.queueing import follow_queue

Place = tuple[str, str]
"""(node, link domain); the latter "" unless links matter."""


def check_rejections(history: History) -> list[Violation]:
    """Every job that was called impossible and was not."""
    found = []
    for told, scene in follow_queue(history):
        fact = told.fact
        if not isinstance(fact, JobRejected) or fact.job_id not in scene.wanted:
            continue
        spec = scene.wanted[fact.job_id].spec
        pool = scene.policy.pool_of_job(spec)
        images = {
            name: image
            for name, image in scene.images.items()
            if scene.policy.pool_of_node(image.labels) is pool
        }
        choices = range(len(spec.alternatives) + 1)
        if any(_could_hold(spec.resolved(choice), images) for choice in choices):
            sentence = f"JOBS {told.seq} rejects {fact.job_id}, which its pool could hold"
            found.append(
                Violation(
                    code="rejected_possible",
                    sentence=sentence,
                    job_id=fact.job_id,
                    at_ns=told.at_ns,
                )
            )
    return found


def _could_hold(asked: JobSpec, images: dict[str, NodeImaged]) -> bool:
    room = {
        place: count
        for image in images.values()
        if not asked.node_labels.items() - image.labels.items()
        if asked.container is None or CONTAINERS in image.offers
        for place, count in _ranks_on(asked, image)
        if count
    }
    domains: dict[tuple[str, ...], dict[Place, int]] = {}
    for place, count in room.items():
        domain = _domain(asked, asked.near, images[place[0]], place)
        domains.setdefault(domain if asked.near_required else (), {})[place] = count
    return any(_spread_over(asked, images, inside) >= asked.ranks for inside in domains.values())


def _ranks_on(asked: JobSpec, image: NodeImaged) -> Iterator[tuple[Place, int]]:
    """How many ranks fit on the empty node, by link domain when these count."""
    cpu_milli = CPU_MILLI_DEFAULT if asked.cpu_milli is None else asked.cpu_milli
    most = asked.ranks
    for size, each in ((image.cpu_milli, cpu_milli), (image.memory_mib, asked.memory_mib)):
        if each:
            most = min(most, size // each)
    if not asked.gpus:
        yield (image.node, ""), most
        return
    usable: Counter[str] = Counter()
    links = image.links or ("",) * len(image.devices)
    for (uuid, model, memory_mib), link in zip(image.devices, links, strict=True):
        share = (memory_mib or 0) * asked.gpu_milli
        fits = not asked.gpu_memory_mib or share >= asked.gpu_memory_mib * GPU_MILLI_WHOLE
        if fits and (not asked.gpu_models or model in asked.gpu_models):
            usable[(link or uuid) if asked.near_required and asked.near == LINK else ""] += 1
    for link, count in usable.items():
        shares = count * (GPU_MILLI_WHOLE // asked.gpu_milli)
        yield (image.node, link), min(most, shares if asked.gpus == 1 else count // asked.gpus)


def _spread_over(asked: JobSpec, images: dict[str, NodeImaged], room: dict[Place, int]) -> int:
    if not asked.spread or asked.ranks <= asked.spread_ranks:
        return sum(room.values())
    sums: Counter[tuple[str, ...]] = Counter()
    for place, count in room.items():
        domain = _domain(asked, asked.spread, images[place[0]], place)
        if asked.spread == NODE or domain != place:
            sums[domain] += count
    return sum(min(count, asked.spread_ranks) for count in sums.values())


def _domain(asked: JobSpec, level: str, image: NodeImaged, place: Place) -> tuple[str, ...]:
    """In which domain a place lies; when nobody knows, in one of its own: `place`."""
    if level == NODE:
        return (image.node,)
    if level == LINK:
        return (place[1],) if place[1] in image.links else place
    site, rack = image.labels.get("site", ""), image.labels.get("rack", "")
    if level == SITE:
        return (site, "site") if site else place
    return (site, rack, "rack") if rack else place
