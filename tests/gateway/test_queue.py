"""Is the queue shown over HTTP, and its policy set?"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from client.mesh import FakeMesh
from gateway.conftest import Api
from penstock_contracts.errors import Refusal
from penstock_contracts.ids import is_ulid
from penstock_contracts.queue_messages import QueueQuery, QueueView, QuotaView, SetPolicy
from penstock_contracts.queue_policy import PolicyVersion, QueuePolicy, Quota

POLICY = QueuePolicy(quotas=(Quota(name="lab", tenant="acme", guaranteed_gpu_milli=8_000),))
DOCUMENT: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(POLICY))


async def test_the_queue_is_shown_page_by_page(mesh: FakeMesh, api: Api) -> None:
    quotas = tuple(QuotaView(name=name, parent="", pool="default") for name in ("a", "b"))

    def answer(payload: bytes) -> QueueView:
        after = msgspec.json.decode(payload, type=QueueQuery).after
        page = quotas[1:] if after else quotas[:1]
        return QueueView(seq=7, version=2, pools=(), quotas=page, more=not after)

    await mesh.answer("query.scheduler.queue", answer)
    done = await api("GET", "/v1/queue")
    assert [quota["name"] for quota in done.body["quotas"]] == ["a", "b"]
    assert (done.body["version"], "more" in done.body) == (2, False)


async def test_the_policy_is_shown_and_set(mesh: FakeMesh, api: Api) -> None:
    await mesh.answer("query.scheduler.policy", PolicyVersion(4, POLICY, 9))
    shown = await api("GET", "/v1/queue/policy")
    assert shown.body == {"version": 4, "policy": DOCUMENT, "set_ms": 9}
    await mesh.answer("command.scheduler.set_policy", PolicyVersion(5, POLICY, 10))
    done = await api("PUT", "/v1/queue/policy", json={"policy": DOCUMENT, "based_on": 4})
    assert (done.status, done.body["version"]) == (200, 5)
    wish = msgspec.json.decode(mesh.asked[-1][1], type=SetPolicy)
    assert (wish.policy, wish.based_on) == (POLICY, 4)
    assert is_ulid(wish.key)


async def test_a_policy_based_on_another_than_holds_is_a_conflict(mesh: FakeMesh, api: Api) -> None:
    changed = Refusal("policy_changed", "version 9 holds by now")
    await mesh.answer("command.scheduler.set_policy", changed)
    done = await api("PUT", "/v1/queue/policy", json={"policy": DOCUMENT, "based_on": 4})
    assert (done.status, done.code) == (409, "policy_changed")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "malformed_json"),
        (b"[]", "invalid_field"),
        (b"{}", "invalid_field"),
        (b'{"policy": {"quotas": [{"name": "a", "weight": -1}]}}', "invalid_field"),
        (b'{"policy": {}, "based_on": -1}', "invalid_field"),
    ],
)
async def test_what_is_no_policy_is_refused(
    mesh: FakeMesh, api: Api, body: bytes, code: str
) -> None:
    done = await api("PUT", "/v1/queue/policy", data=body)
    assert (done.status, done.code) == (400, code)


@pytest.mark.parametrize(("code", "status"), [("queue_full", 429), ("over_quota", 422)])
async def test_a_job_that_its_quota_refuses_is_told_so(
    mesh: FakeMesh, api: Api, code: str, status: int
) -> None:
    mesh.refuse = lambda spec: Refusal(code, "not now")
    done = await api("POST", "/v1/jobs", json={"command": ["true"]})
    assert (done.status, done.code) == (status, code)
