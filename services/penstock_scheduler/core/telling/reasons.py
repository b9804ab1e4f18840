"""Which places were considered for the jobs that were placed lately?

Kept with each decision of this process in a ring, and lost with it: a cache, not state. Whoever is
no longer remembered is considered again, as if it held nothing. It does not know what is answered.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from penstock_contracts.explanations import DECISION, NOW, PlaceConsidered
from penstock_contracts.journal import NodeImaged
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.packing.considered import Considered, Place, consider, place_of
from penstock_scheduler.core.packing.packer import Choice
from penstock_scheduler.core.packing.shapes import PackShape
from penstock_scheduler.core.placing.capacity import pack_shape
from penstock_scheduler.core.placing.placement import Placed, closed_to, without_refusals
from penstock_scheduler.core.state import Job, Lease, Shape, shape_of

REASONS_MAX = 4_096
PLACES_MAX = 3


class Reason(NamedTuple):
    """What was considered, when, and the best places. `able`: nodes that could take one rank."""

    policy: str
    as_of: str
    able: int
    places: tuple[PlaceConsidered, ...]


class _Kept(NamedTuple):
    attempt: int
    considered: Considered
    images: tuple[NodeImaged, ...]


class Reasons:
    """`keep` costs a few microseconds; what is forgotten first was kept first."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def keep(self, job: Job, shape: Shape, placed: Placed, state: State) -> None:
        """Before the job's ranks are given their places."""
        considered = _considered(_option(shape, placed), state)
        images = tuple(state.nodes[name].image for name in considered.names)
        kept = self._kept
        kept.pop(job.spec.job_id, None)
        if len(kept) >= REASONS_MAX:
            del kept[next(iter(kept))]
        kept[job.spec.job_id] = _Kept(job.attempt, considered, images)

    def of(self, job: Job, state: State) -> Reason:
        """Why a job that has its places has them."""
        kept = self._kept.get(job.spec.job_id)
        first = job.ranks[0]
        held = (first.node, first.uuids)
        if kept is not None and kept.attempt == job.attempt:
            images = {image.node: image for image in kept.images}
            return _reason(kept.considered, kept.considered.places(), DECISION, images, held)
        return _considered_again(job, state)


def considered_now(shape: Shape, placed: Placed, state: State) -> Reason:
    """What a job of this shape that fits now has to choose from; it will be put there."""
    considered = _considered(_option(shape, placed), state)
    first = placed.ranks[0]
    places = considered.places()
    return _reason(considered, places, NOW, _images(places, state), (first.node, first.devices))


def _considered_again(job: Job, state: State) -> Reason:
    """With all that the job holds given back, in the packer only and only for this."""
    packer = state.capacity.packer
    leases = state.leases_of(job)
    held = [one for one in (_held(lease, state) for lease in leases) if one]
    for choice, pack in held:
        packer.give(choice, pack)
    try:
        option = shape_of(job.spec.resolved(job.alternative), job.avoid, job.tenant)
        considered = _considered(option, state, [lease.node for lease in leases])
        places = considered.places()
        own = held[0][0] if held else None
        if own is not None and own not in [place.choice for place in places]:
            place = place_of(packer, pack_shape(option), own)
            places += [] if place is None else [place]
        first = job.ranks[0]
        images = _images(places, state)
        return _reason(considered, places, NOW, images, (first.node, first.uuids))
    finally:
        for choice, pack in reversed(held):
            packer.take(choice, pack)


def _option(shape: Shape, placed: Placed) -> Shape:
    """What a place was found for; as if nobody had refused it, where that was so."""
    option = (shape, *shape.alternatives)[placed.alternative]
    return without_refusals(option) if placed.refused_too else option


def _considered(option: Shape, state: State, own: Iterable[str] = ()) -> Considered:
    """What there is to choose from for one rank, the first of several. `own`: nodes from which only
    the job itself keeps others apart."""
    packer = state.capacity.packer
    closed = closed_to(option, state.nodes, state.capacity)
    if option.apart:
        for name in own:
            if name in packer.fleet.columns and name not in option.avoid:
                closed[packer.fleet.columns[name]] = False
    return consider(packer, pack_shape(option), PLACES_MAX, closed)


def _held(lease: Lease, state: State) -> tuple[Choice, PackShape] | None:
    """What a lease takes of its node; None where the node is not, or not any more, the one that
    holds it."""
    node = state.nodes.get(lease.node)
    if node is None or lease.id not in node.leases:
        return None
    held = set(lease.uuids)
    devices = [index for index, (uuid, _, _) in enumerate(node.image.devices) if uuid in held]
    return Choice(lease.node, tuple(devices)), pack_shape(shape_of(lease.spec))


def _images(places: list[Place], state: State) -> dict[str, NodeImaged]:
    return {place.choice.node: state.nodes[place.choice.node].image for place in places}


def _reason(
    considered: Considered,
    places: list[Place],
    as_of: str,
    images: dict[str, NodeImaged],
    chosen: tuple[str, tuple[str, ...]],
) -> Reason:
    found = []
    for place in places:
        devices = images[place.choice.node].devices
        uuids = tuple(devices[index][0] for index in place.choice.devices)
        found.append(
            PlaceConsidered(
                node=place.choice.node,
                score=place.score,
                devices=uuids,
                parts={} if place.parts is None else place.parts._asdict(),
                chosen=(place.choice.node, uuids) == chosen,
            )
        )
    return Reason(considered.terms.policy.name, as_of, considered.able, tuple(found))
