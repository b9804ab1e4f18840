"""Does the history tell what somebody hostile asked for?"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from penstock_bus.port import Message
from penstock_contracts.ids import ROOT
from tests.checkers.builders import a_good_history
from tests.checkers.history import History
from tests.simulation.hostility import MALLORY, send

KNOWN = a_good_history().submissions[0].spec


def sent(verb: str, payload: bytes) -> tuple[History, list[Message]]:
    """The history and what the broker got."""
    history, routed = History(), list[Message]()
    world: Any = SimpleNamespace(
        broker=SimpleNamespace(up=True, route=routed.append),
        history=history,
        kernel=SimpleNamespace(now_ns=7),
    )
    send(world, f"{ROOT}.request.job.{MALLORY}.{verb}", payload)
    return history, routed


def test_a_job_that_a_hostile_tenant_asks_for_is_asked_for() -> None:
    for body in (KNOWN, {"jobs": [KNOWN, 7]}):
        history, routed = sent("submit", msgspec.json.encode(body))
        (noted,) = history.submissions
        assert (noted.tenant, noted.spec, noted.request_seq) == (MALLORY, KNOWN, None)
        assert len(routed) == 1


@pytest.mark.parametrize("payload", [b"", b"\xff\xfe", b'{"jobs":[{}]}', b"[" * 5000])
def test_rubbish_asks_for_nothing(payload: bytes) -> None:
    history, routed = sent("submit", payload)
    assert not history.submissions and len(routed) == 1


def test_a_cancel_is_no_submission() -> None:
    history, _ = sent("cancel", msgspec.json.encode({"job_id": "01KDVDW2MMVYC8W0EYSQ98QGXK"}))
    assert not history.submissions
