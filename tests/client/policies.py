"""What answers the commands of operators: a scheduler that only holds a policy."""

from __future__ import annotations

from typing import Any

import msgspec

from client.builders import a_node_view
from client.conftest import Done
from client.mesh import FakeMesh
from penstock_contracts.errors import Refusal
from penstock_contracts.queries import NodesView
from penstock_contracts.queue_messages import SetPolicy
from penstock_contracts.queue_policy import PolicyVersion, QueuePolicy, Quota

POLICY = QueuePolicy(
    quotas=(
        Quota(name="org", guaranteed_gpu_milli=8_000),
        Quota(name="vision", parent="org", tenant="acme", guaranteed_gpu_milli=4_000),
    )
)


class PolicyMesh:
    """Answers as a scheduler does that holds a policy."""

    def __init__(self, mesh: FakeMesh) -> None:
        self.mesh = mesh
        self.held = PolicyVersion(3, POLICY)
        self.wishes: list[SetPolicy] = []
        self.refuses: list[Refusal] = []
        self.nodes = (a_node_view(),)

    async def start(self, *, has_inventory: bool = True) -> PolicyMesh:
        await self.mesh.answer("query.scheduler.policy", lambda _: self.held)
        await self.mesh.answer("command.scheduler.set_policy", self._set)
        if has_inventory:
            await self.mesh.answer("query.inventory.nodes", lambda _: NodesView(1, self.nodes))
        return self

    def _set(self, payload: bytes) -> Any:
        wish = msgspec.json.decode(payload, type=SetPolicy)
        self.wishes.append(wish)
        if self.refuses:
            return self.refuses.pop(0)
        assert wish.based_on == self.held.version
        self.held = PolicyVersion(self.held.version + 1, wish.policy)
        return self.held


def succeeded(done: Done) -> str:
    assert done.code == 0, done.err
    return str(done.out.decode())
