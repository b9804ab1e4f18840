"""Do limits of memory and processes hold, and is it told apart who died of them?"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.reaper_client import ReaperClient, wait_until
from penstock_node_agent.reaper.cgroups import UNIFIED, hierarchies, slot_in
from penstock_node_agent.reaper.limits import Limits

EAT = "a = bytearray(1 << 20) * 300"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[ReaperClient]:
    client = ReaperClient(tmp_path)
    await client.start()
    yield client
    client.close()


def needs(client: ReaperClient, word: str) -> None:
    if word not in client.abilities["offers"]:
        pytest.skip(f"this host offers no {word}")


async def test_work_that_wants_more_memory_than_it_has_is_out_of_memory(
    client: ReaperClient,
) -> None:
    needs(client, "memory_limit")
    client.spawn("main", "python3", "-c", EAT, slot=1, memory_mib=64)
    end = client.end_of("main")
    assert (end["reason"], end["code"], end["signal"]) == ("out_of_memory", None, signal.SIGKILL)
    client.shell("child", f"python3 -c '{EAT}'; exit $?", slot=2, memory_mib=64)
    end = client.end_of("child")
    assert (end["reason"], end["code"]) == ("out_of_memory", 128 + signal.SIGKILL)
    wait_until(lambda: not client.groups, "no group is left")


async def test_work_within_its_memory_ends_as_it_does(client: ReaperClient) -> None:
    needs(client, "memory_limit")
    client.spawn("enough", "python3", "-c", EAT, slot=1, memory_mib=512)
    assert (client.end_of("enough")["reason"], client.end_of("enough")["code"]) == ("exited", 0)
    client.shell("kills", "kill -9 $$", slot=1, memory_mib=64)
    assert client.end_of("kills")["reason"] == "signalled", "a kill by itself is no lack of memory"
    client.shell("heeds", f"python3 -c '{EAT}' || exit 0", slot=1, memory_mib=64)
    assert client.end_of("heeds")["reason"] == "exited", "what it survived it has dealt with"


async def test_work_has_no_more_processes_than_it_may(client: ReaperClient) -> None:
    needs(client, "pids_limit")
    script = "for i in 1 2 3 4 5 6 7 8; do sleep 0.2 & done; wait; echo all"
    client.shell("few", script, slot=1, pids_max=4)
    client.end_of("few")
    assert "fork" in client.output("few", "err").read_text("utf-8").lower()
    client.shell("enough", script, slot=1, pids_max=32)
    assert client.end_of("enough")["code"] == 0
    assert client.output("enough", "out").read_text("ascii") == "all\n"
    wait_until(lambda: not client.groups, "no group is left")


async def test_a_limited_job_that_is_stopped_ends_as_stopped(client: ReaperClient) -> None:
    needs(client, "memory_limit")
    client.shell("k", "echo on; sleep 60", slot=1, memory_mib=64)
    client.wait_for_output("k")
    client.send(op="stop", key="k", reason="cancelled", grace_s=5)
    end = client.end_of("k")
    assert (end["reason"], end["signal"]) == ("cancelled", signal.SIGTERM)


async def test_a_reaper_that_takes_over_removes_what_was_limited(client: ReaperClient) -> None:
    needs(client, "memory_limit")
    client.shell("k", "echo on; sleep 60", slot=1, memory_mib=64, pids_max=9)
    client.wait_for_output("k")
    assert len(client.groups) > 1
    client.kill_reaper()
    await client.start()
    assert client.end_of("k")["reason"] == "lost"
    assert not client.groups
    client.shell("again", "exit 3", slot=1, memory_mib=64)
    assert client.end_of("again")["code"] == 3


MOUNTS = """\
sysfs /sys sysfs rw 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,nsdelegate 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0
"""
OWN = "4:memory:/a/b\n3:cpu,cpuacct:/\n2:devices:/x\n0::/user.slice\n"


def test_where_this_process_is_follows_from_mounts_and_membership() -> None:
    assert hierarchies(MOUNTS, OWN) == {
        UNIFIED: "/sys/fs/cgroup/unified/user.slice",
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "memory": "/sys/fs/cgroup/memory/a/b",
    }
    assert hierarchies("", OWN) == {}


@pytest.mark.parametrize(
    ("text", "slot"),
    [
        ("0::/system.slice/run-1.scope/penstock-abc/plain/slot-7\n", 7),
        ("4:memory:/\n0::/penstock-abc/limited-12/inner\n", 12),
        ("4:memory:/penstock-abc/limited-3\n0::/\n", 3),
        ("0::/penstock-abc/plain\n", None),
        ("0::/penstock-abcd/plain/slot-7\n", None),
        ("0::/penstock-abc/plain/slot-x\n", None),
        ("", None),
    ],
)
def test_a_process_is_told_by_the_group_it_is_in(text: str, slot: int | None) -> None:
    assert slot_in(text, "abc") == slot


def test_the_second_version_takes_all_limits_in_one_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "scope" / "penstock-abc"
    base.mkdir(parents=True)
    (base / "cgroup.subtree_control").write_text("memory pids cpu\n", "ascii")
    written: dict[str, str] = {}
    monkeypatch.setattr("penstock_node_agent.reaper.cgroups.write", written.__setitem__)
    limits = Limits("abc", {UNIFIED: str(base.parent)}, str(base))
    assert limits.versions == {"memory": 2, "pids": 2, "cpu": 2}
    assert written[f"{base.parent}/cgroup.subtree_control"] == "+cpu", "from the top downwards"
    written.clear()
    group = base / "limited-5"
    joins = limits.make(5, {"memory_mib": 3, "pids_max": 7, "cpu_milli": 2500})
    assert joins == [f"{group}/cgroup.procs"]
    assert written == {
        f"{group}/memory.max": str(3 << 20),
        f"{group}/memory.swap.max": "0",
        f"{group}/memory.oom.group": "1",
        f"{group}/pids.max": "7",
        f"{group}/cpu.weight": "250",
    }
    assert not limits.ran_out_of_memory(5)
    (group / "memory.events").write_text("low 0\nmax 3\noom 1\noom_kill 1\n", "ascii")
    assert limits.ran_out_of_memory(5)
