"""Do a job's files come and go, as they should be and nowhere else?"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from agent.depot_rig import TENANT, UPLOAD, Rig, a_depot, failure, sum_of
from penstock_bus import memory
from penstock_bus.memory_broker import MemoryBroker
from penstock_contracts.depot import CHUNK_BYTES, Chunk, File
from penstock_contracts.streams import FILES
from penstock_contracts.work import Input, Output
from penstock_gateway.depot_files import FileKeeper
from penstock_gateway.refused import Refused
from penstock_node_agent.workplace.depot_link import DepotLink
from penstock_node_agent.workplace.files import Files
from penstock_node_agent.workplace.work_files import WorkFiles

TEXT = os.urandom(3 * CHUNK_BYTES + 17)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with a_depot(tmp_path) as rig:
        yield rig


async def test_an_input_comes_whole_and_only_as_its_job_says(rig: Rig) -> None:
    await rig.put("data set", TEXT)
    wanted = Input("object:data set", "in/data", sum_of(TEXT))
    order = rig.order(inputs=(wanted,))
    await rig.node().fetch(order, wanted, str(rig.work))
    assert (rig.work / "in/data").read_bytes() == TEXT
    assert [path.name for path in (rig.work / "in").iterdir()] == ["data"]
    other = Input("object:data set", "again", "0" * 64)
    assert await failure(rig.node().fetch(order, other, str(rig.work))) == (
        "wrong_checksum",
        "job",
    )
    missing = Input("object:none", "none")
    named = rig.order(inputs=(missing,))
    assert await failure(rig.node().fetch(named, missing, str(rig.work))) == ("no_such_file", "job")
    assert not (rig.work / "again").exists() and not (rig.work / "none").exists()


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES * 9 + 1])
async def test_an_output_is_kept_under_its_name_and_can_be_another_jobs_input(
    rig: Rig, size: int
) -> None:
    data = os.urandom(size)
    (rig.work / "model").write_bytes(data)
    wanted = Output("model", "object:model")
    order = rig.order(outputs=(wanted,))
    stored = await rig.node().store(order, wanted, str(rig.work))
    assert (stored.sha256, stored.bytes) == (sum_of(data), size)
    again = await rig.node().store(order, wanted, str(rig.work))
    assert again == stored, "safe to repeat"
    (rig.work / "model").write_bytes(data + b"more")
    next_one = rig.order(outputs=(wanted,), inputs=(Input("object:model", "copy"),))
    await rig.node().store(next_one, wanted, str(rig.work))
    await rig.node().fetch(next_one, next_one.inputs[0], str(rig.work))
    assert (rig.work / "copy").read_bytes() == data + b"more"
    state = await rig.bus.stream_state(f"OBJ_{FILES}")
    assert state.messages == 2 + -(-(size + 4) // CHUNK_BYTES), "what it meant before is gone"


async def test_a_node_gets_only_what_its_lease_names(rig: Rig) -> None:
    await rig.put("data", TEXT)
    await rig.put("data", b"another's", tenant="other")
    wanted = Input("object:data", "data")
    order = rig.order(inputs=(wanted,))
    assert await failure(rig.node("n2").fetch(order, wanted, str(rig.work))) == (
        "not_held",
        "node",
    )
    unnamed = Input("object:else", "else")
    await rig.put("else", TEXT)
    assert await failure(rig.node().fetch(order, unnamed, str(rig.work))) == ("not_named", "job")
    (rig.work / "out").write_bytes(b"x")
    stray = Output("out", "object:data")
    assert await failure(rig.node().store(order, stray, str(rig.work))) == ("not_named", "job")
    older = msgspec.structs.replace(order, lease_seq=order.lease_seq - 1)
    assert await failure(rig.node().fetch(older, wanted, str(rig.work))) == ("not_held", "node")
    assert (await rig.files.find("other", "data")).bytes == 9


@pytest.mark.parametrize(
    "path", ["../out", "link/out", "out", "pipe", "dir", "none", "/etc/passwd"]
)
async def test_what_a_job_has_made_leads_nowhere_else(rig: Rig, path: str) -> None:
    (rig.work / "link").symlink_to(rig.mounted)
    (rig.work / "out").symlink_to("/etc/passwd")
    (rig.mounted / "out").write_bytes(b"another's")
    os.mkfifo(rig.work / "pipe")
    (rig.work / "dir").mkdir()
    order = rig.order(outputs=(Output(path, "object:o"),))
    assert await failure(rig.node().store(order, order.outputs[0], str(rig.work))) == (
        "no_such_file",
        "job",
    )


async def test_files_of_the_host_are_used_below_what_its_operator_allows(rig: Rig) -> None:
    (rig.mounted / TENANT).mkdir()
    (rig.mounted / TENANT / "data").write_bytes(TEXT)
    (rig.mounted / TENANT / "link").symlink_to("/etc/passwd")
    node = rig.node(prefixes=(f"{rig.mounted}/{{tenant}}",))
    place = f"file:{rig.mounted}/{TENANT}"
    good = Input(f"{place}/data", "data", sum_of(TEXT))
    order = rig.order(inputs=(good,))
    await node.fetch(order, good, str(rig.work))
    assert (rig.work / "data").read_bytes() == TEXT
    for bad, code, blame in (
        (f"{place}/none", "no_such_file", "job"),
        (f"{place}/link", "no_such_file", "job"),
        (f"file:{rig.mounted}/other/data", "path_not_allowed", "node"),
        ("file:/etc/passwd", "path_not_allowed", "node"),
        (f"{place}/../other", "path_not_allowed", "job"),
    ):
        assert await failure(node.fetch(order, Input(bad, "bad"), str(rig.work))) == (code, blame)
    output = Output("data", f"{place}/new/model")
    stored = await node.store(order, output, str(rig.work))
    assert (rig.mounted / TENANT / "new/model").read_bytes() == TEXT
    assert stored.sha256 == sum_of(TEXT)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
async def test_inputs_are_the_users_as_whom_the_job_runs(rig: Rig) -> None:
    await rig.put("data", b"text")
    wanted = Input("object:data", "in/deep/data")
    order = rig.order(inputs=(wanted,), user="nobody")
    await rig.node().fetch(order, wanted, str(rig.work))
    nobody = pwd.getpwnam("nobody").pw_uid
    for path in ("in", "in/deep", "in/deep/data"):
        assert (rig.work / path).stat().st_uid == nobody
    absent = msgspec.structs.replace(order, user="nobody-of-that-name")
    fetching = rig.node().fetch(absent, wanted, str(rig.work))
    assert await failure(fetching) == ("no_such_user", "node")
    (rig.work / "out").write_bytes(b"theirs")
    os.link(rig.work / "out", rig.work / "link")
    output = Output("link", "object:link")
    stealing = rig.node().store(rig.order(outputs=(output,), user="nobody"), output, str(rig.work))
    assert await failure(stealing) == ("no_such_file", "job")


async def test_no_answer_is_waited_for_and_is_the_nodes_fault_in_the_end(rig: Rig) -> None:
    alone = await memory.connect(MemoryBroker(time.time_ns), name="alone")
    node = Files(DepotLink(alone, "n1", patience_s=0.6), WorkFiles(), ())
    wanted = Input("object:data", "data")
    began_s = time.monotonic()
    assert await failure(node.fetch(rig.order(inputs=(wanted,)), wanted, str(rig.work))) == (
        "no_depot",
        "node",
    )
    assert time.monotonic() - began_s >= 0.6
    await alone.close()


async def test_a_file_that_is_not_what_its_record_says_is_not_kept(rig: Rig) -> None:
    await rig.files.write(TENANT, Chunk("f", UPLOAD, 0, b"abc"))
    for size, chunks, digest in ((4, 1, b"abc"), (3, 1, b"abd"), (3, 2, b"abc")):
        record = File(name="f", bytes=size, chunks=chunks, sha256=sum_of(digest), upload=UPLOAD)
        with pytest.raises(Refused) as caught:
            await rig.files.keep(TENANT, record)
        assert caught.value.refusal.code == "file_incomplete"
    with pytest.raises(Refused):
        await rig.files.find(TENANT, "f")


async def test_files_are_listed_and_removed_and_abandoned_uploads_go_after_a_day(rig: Rig) -> None:
    for name in ("b", "a"):
        await rig.put(name, b"text")
    assert [file.name for file in (await rig.files.names(TENANT, "")).files] == ["a", "b"]
    assert [file.name for file in (await rig.files.names(TENANT, "a")).files] == ["b"]
    await rig.files.remove(TENANT, "a")
    await rig.files.write(TENANT, Chunk("c", "1" * 32, 0, b"abandoned"))
    assert await rig.files.sweep() == 0
    later = FileKeeper(rig.bus, lambda: time.time_ns() + 2 * 86_400 * 10**9)
    assert await later.sweep() == 1
    assert [file.name for file in (await rig.files.names(TENANT, "")).files] == ["b"]
    assert (await rig.bus.stream_state(f"OBJ_{FILES}")).messages == 3
