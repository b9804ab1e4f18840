"""Does the checker see a job called impossible that the fleet could hold?

Of the history, the job that is rejected wants 100 devices; the two nodes have two each.
"""

from __future__ import annotations

from typing import Any

import pytest

from penstock_contracts.asks import Alternative
from penstock_contracts.journal import JobSubmitted, NodeImaged
from tests.checkers.history import History
from tests.checkers.rejections import check_rejections
from tests.checkers.tampering import codes_after, edit_fact, replace

REJECTED = 3
"""The fourth job of the history."""
FOUND = {"rejected_possible"}


def _codes(**fields: Any) -> set[str]:
    """Had the job asked for this, in two racks of one site, all devices of a node linked."""

    def tamper(history: History) -> None:
        def ask(fact: JobSubmitted) -> tuple[JobSubmitted]:
            return (replace(fact, spec=replace(fact.spec, **fields)),)

        edit_fact(history, JobSubmitted, ask, nth=REJECTED)
        for nth in range(2):
            edit_fact(history, NodeImaged, lambda fact: (_stand(fact),), nth=nth)

    return codes_after(check_rejections, tamper)


def _stand(image: NodeImaged) -> NodeImaged:
    labels = {"site": "s", "rack": image.node}
    return replace(image, labels=labels, links=(image.node, image.node))


@pytest.mark.parametrize(
    "fields",
    [
        {"gpus": 2},
        {"gpus": 1, "ranks": 4},
        {"gpus": 1, "ranks": 8, "gpu_milli": 500},
        {"gpus": 1, "ranks": 2, "near": "link", "near_required": True},
        {"gpus": 2, "ranks": 2, "near": "site", "near_required": True},
        {"gpus": 1, "ranks": 2, "spread": "rack"},
        {"gpus": 1, "gpu_milli": 500, "gpu_memory_mib": 40_000},
        {"gpus": 0, "cpu_milli": 8_000, "ranks": 2},
        {"gpus": 2, "node_labels": {"rack": "n1"}},
        {"gpus": 100, "alternatives": (Alternative(gpus=2),)},
    ],
)
def test_a_rejection_of_what_could_run_is_found(fields: dict[str, Any]) -> None:
    assert _codes(**fields) == FOUND


@pytest.mark.parametrize(
    "fields",
    [
        {"gpus": 3},
        {"gpus": 1, "ranks": 5},
        {"gpus": 1, "gpu_models": ("L4",)},
        {"gpus": 1, "ranks": 7, "gpu_milli": 600},
        {"gpus": 1, "ranks": 3, "near": "link", "near_required": True},
        {"gpus": 2, "ranks": 2, "near": "rack", "near_required": True},
        {"gpus": 1, "ranks": 3, "spread": "rack"},
        {"gpus": 1, "ranks": 2, "spread": "site"},
        {"gpus": 1, "gpu_milli": 500, "gpu_memory_mib": 40_001},
        {"gpus": 0, "cpu_milli": 8_001},
        {"gpus": 1, "node_labels": {"rack": "n3"}},
        {"gpus": 100, "alternatives": (Alternative(gpus=3),)},
    ],
)
def test_a_rejection_of_what_could_never_run_is_none(fields: dict[str, Any]) -> None:
    assert _codes(**fields) == set()
