"""Does the checker see a grant that breaks what its job had demanded?"""

from __future__ import annotations

from typing import Any

import pytest

from penstock_contracts.asks import Alternative
from penstock_contracts.journal import JobSubmitted, LeaseGranted, NodeImaged
from tests.checkers.demands import check_demands
from tests.checkers.history import History
from tests.checkers.tampering import Tamper, codes_after, edit_fact, replace

SINGLE, GANG = 0, 1
"""Which job of the history."""
RACKS = ({"site": "s", "rack": "1"}, {"site": "s", "rack": "2"})


def _asking(job: int, **fields: Any) -> Tamper:
    """The job had asked for this too."""

    def change(fact: JobSubmitted) -> tuple[JobSubmitted]:
        return (replace(fact, spec=replace(fact.spec, **fields)),)

    return lambda history: edit_fact(history, JobSubmitted, change, nth=job)


def _granted(job: int, **fields: Any) -> Tamper:
    return lambda history: edit_fact(
        history, LeaseGranted, lambda fact: (replace(fact, **fields),), nth=job
    )


def _nodes(*labels: dict[str, str], links: tuple[str, ...] = ()) -> Tamper:
    """The nodes have these labels, and their devices these links."""

    def tamper(history: History) -> None:
        own = iter(labels)
        for nth in range(len(labels)):
            edit_fact(history, NodeImaged, lambda fact: (_moved(fact, next(own)),), nth=nth)

    def _moved(image: NodeImaged, own: dict[str, str]) -> NodeImaged:
        return replace(image, labels=own, links=links)

    return tamper


def _all(*tampers: Tamper) -> Tamper:
    def tamper(history: History) -> None:
        for one in tampers:
            one(history)

    return tamper


def _one_device_too_many(history: History) -> None:
    def change(fact: LeaseGranted) -> tuple[LeaseGranted]:
        return (replace(fact, ranks=(replace(fact.ranks[0], devices=("n1-a", "n1-b")),)),)

    edit_fact(history, LeaseGranted, change)


def _beside(history: History) -> None:
    """The gang begins on the nodes of the single job before that has ended, both apart."""
    for job in (SINGLE, GANG):
        _asking(job, apart="a")(history)
    first, second = history.runs[0], history.runs[1]
    first.ended_ns = second.began_ns + 1


def _granted_beside(history: History) -> None:
    """The gang is granted before the single job is released, both apart."""
    for job in (SINGLE, GANG):
        _asking(job, apart="a")(history)
    grants = [
        place
        for place, seen in enumerate(history.jobs_entries)
        if any(isinstance(fact, LeaseGranted) for fact in seen.entry.facts)
    ]
    gang = history.jobs_entries.pop(grants[1])
    early = replace(gang, entry=replace(gang.entry, seq=history.jobs_entries[grants[0]].entry.seq))
    history.jobs_entries[grants[0]] = replace(
        early,
        entry=replace(
            early.entry, facts=(*history.jobs_entries[grants[0]].entry.facts, *gang.entry.facts)
        ),
    )


H100 = Alternative(gpus=1, gpu_models=("H100",), cpu_milli=100)


@pytest.mark.parametrize(
    ("tamper", "codes"),
    [
        (_one_device_too_many, {"other_sizes"}),
        (_granted(SINGLE, gpu_milli=500), {"other_sizes"}),
        (_granted(SINGLE, cpu_milli=200), {"other_sizes"}),
        (_granted(SINGLE, memory_mib=1), {"other_sizes"}),
        (_granted(SINGLE, alternative=1), {"no_such_alternative"}),
        (_asking(SINGLE, gpu_models=("A100",)), {"wrong_model"}),
        (_asking(SINGLE, gpu_memory_mib=80_001), {"too_little_memory"}),
        (_asking(SINGLE, node_labels={"disk": "fast"}), {"label_missing"}),
        (_asking(GANG, near="rack", near_required=True), {"not_near"}),
        (_asking(GANG, near="node", near_required=True), {"not_near"}),
        (_asking(GANG, near="link", near_required=True), {"not_near"}),
        (_asking(GANG, spread="rack"), {"not_spread"}),
        (_beside, {"ran_together"}),
        (_granted_beside, {"not_apart"}),
    ],
)
def test_a_grant_against_a_demand_is_found(tamper: Tamper, codes: set[str]) -> None:
    assert codes_after(check_demands, tamper) == codes


@pytest.mark.parametrize(
    ("tamper", "codes"),
    [
        (_asking(GANG, near="rack", near_required=True), {"not_near"}),
        (_asking(GANG, near="site", near_required=True), set()),
        (_asking(GANG, spread="rack"), set()),
        (_asking(GANG, spread="site"), {"not_spread"}),
        (_asking(GANG, spread="site", spread_ranks=2), set()),
        (_asking(GANG, node_labels={"site": "s"}), set()),
        (_asking(GANG, near="link", near_required=True), set()),
    ],
)
def test_what_lies_near_or_apart_is_known_from_labels_and_links(
    tamper: Tamper, codes: set[str]
) -> None:
    place = _nodes(*RACKS, links=("fabric", "fabric"))
    assert codes_after(check_demands, _all(place, tamper)) == codes


@pytest.mark.parametrize(
    ("own", "taken", "codes"),
    [
        (("A100",), 1, set()),
        (("A100",), 0, {"wrong_model"}),
        (("H100",), 0, set()),
    ],
)
def test_a_grant_is_judged_by_the_choice_that_it_names(
    own: tuple[str, ...], taken: int, codes: set[str]
) -> None:
    asking = _asking(SINGLE, gpu_models=own, alternatives=(H100,))
    tamper = _all(asking, _granted(SINGLE, alternative=taken))
    assert codes_after(check_demands, tamper) == codes


def test_the_sizes_of_another_choice_are_found() -> None:
    half = replace(H100, gpu_milli=500)
    tamper = _all(_asking(SINGLE, alternatives=(half,)), _granted(SINGLE, alternative=1))
    assert codes_after(check_demands, tamper) == {"other_sizes"}
