"""Are a job's files and secrets inside its container, and come out of it?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.depot_rig import TENANT, a_depot, sealed
from containers.test_agent import Node
from containers.test_agent import node as node
from penstock_contracts.work import Input, Output, Secret

SCRIPT = """
id -u; cat in/data /place/given; test "$KEY" = "$(cat "$PENSTOCK_SECRETS/key.pem")" && echo same
cat in/data > model; echo new > /place/made
"""


@pytest.mark.parametrize("user", ["", "1000"])
async def test_files_and_secrets_come_into_a_container_and_files_out_of_it(
    node: Node, bus: Any, tmp_path: Path, eventually: Any, user: str
) -> None:
    (node.place / "given").write_text("given\n")
    node.place.chmod(0o777)
    (tmp_path / "depot").mkdir()
    async with a_depot(tmp_path / "depot", bus) as rig:
        await rig.put("data", b"data\n")
        await rig.secrets.put(TENANT, sealed(rig, "hunter2", "key"))
        order = node.order(
            SCRIPT,
            {"user": user},
            tenant=TENANT,
            inputs=(Input("object:data", "in/data"),),
            outputs=(Output("model", "object:model"), Output("in/data", f"file:{node.place}/kept")),
            secrets=(Secret("key", env="KEY"), Secret("key", path="key.pem")),
        )
        rig.held["n1"].append(order)
        await node.mesh.order(order)
        await eventually(lambda: node.mesh.has(order, "Released"))
        end = node.mesh.end(order)
        assert (end.reason, end.exit_code) == ("exited", 0), node.mesh.text(order, "stderr")
        assert [(one.path, one.bytes) for one in end.outputs] == [("model", 5), ("in/data", 5)]
        await eventually(lambda: node.mesh.size(order, "stdout") == end.log_bytes["stdout"])
        said = node.mesh.text(order, "stdout").decode().split()
        assert said == [user or "0", "data", "given", "same"]
        assert (await rig.files.find(TENANT, "model")).bytes == 5
    assert (node.place / "kept").read_text() == "data\n"
    assert (node.place / "made").read_text() == "new\n"
