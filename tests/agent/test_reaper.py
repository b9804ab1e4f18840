"""Does the reaper start, wait, enforce and clear as it says?"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.reaper_client import ReaperClient, alive, parent_and_command_line, pid_in, wait_until
from penstock_node_agent.reaper.attempts import Attempt, End, mark_line


@pytest.fixture
def client(tmp_path: Path) -> Iterator[ReaperClient]:
    client = ReaperClient(tmp_path)
    yield client
    client.close()


async def test_exit_codes_and_signals_are_told_as_they_were(client: ReaperClient) -> None:
    await client.start()
    client.shell("code", "exit 7")
    client.shell("signal", "kill -SEGV $$")
    end = client.end_of("code")
    assert (end["code"], end["signal"], end["reason"]) == (7, None, "exited")
    assert end["gone_ns"] >= end["at_ns"] >= client.wait_for("began", "code")[2]
    end = client.end_of("signal")
    assert (end["code"], end["signal"], end["reason"]) == (None, signal.SIGSEGV, "signalled")


async def test_a_program_that_cannot_be_started_says_why(client: ReaperClient) -> None:
    await client.start()
    client.spawn("no-such", "no-such-program-anywhere")
    client.spawn("directory", "/")
    client.spawn("no-cwd", "/bin/true", cwd=str(client.directory / "nowhere"))
    assert client.end_of("no-such")["reason"] == "spawn_failed"
    assert "no-such-program-anywhere" in client.end_of("no-such")["message"]
    assert "Permission denied" in client.end_of("directory")["message"]
    assert "nowhere" in client.end_of("no-cwd")["message"]


async def test_the_program_is_looked_up_in_the_jobs_own_path(client: ReaperClient) -> None:
    await client.start()
    program = client.directory / "mine"
    program.write_text("#!/bin/sh\nexit 3\n", "ascii")
    program.chmod(0o700)
    client.spawn("own", "mine", env={"PATH": f"/nowhere:{client.directory}"})
    assert client.end_of("own")["code"] == 3


async def test_jobs_start_with_default_signal_dispositions(client: ReaperClient) -> None:
    await client.start()
    client.shell("dispositions", "grep -E '^Sig(Ign|Blk)' /proc/self/status")
    client.end_of("dispositions")
    _, blocked, _, ignored = client.output("dispositions", "out").read_text("ascii").split()
    internal = 1 << 31 | 1 << 32  # 32 and 33 are the C library's own, ignored by its spawn
    assert int(blocked, 16) == 0
    assert int(ignored, 16) & ~internal == 0


async def test_a_job_that_ignores_sigterm_is_killed_after_its_grace(client: ReaperClient) -> None:
    await client.start()
    client.shell("stubborn", "trap '' TERM; echo on; while :; do sleep 0.05; done")
    client.wait_for_output("stubborn")
    client.send(op="stop", key="stubborn", reason="cancelled", grace_s=0.3)
    end = client.end_of("stubborn")
    assert (end["signal"], end["reason"]) == (signal.SIGKILL, "cancelled")


async def test_a_job_may_end_by_itself_within_its_grace(client: ReaperClient) -> None:
    await client.start()
    client.shell("tidy", "trap 'exit 5' TERM; echo on; while :; do sleep 0.05; done")
    client.wait_for_output("tidy")
    client.send(op="stop", key="tidy", reason="cancelled", grace_s=30)
    end = client.end_of("tidy")
    assert (end["code"], end["signal"], end["reason"]) == (5, None, "cancelled")


@pytest.mark.lesson(4)
async def test_the_time_limit_counts_from_the_start(client: ReaperClient) -> None:
    await client.start()
    client.spawn("limited", "sleep", "60", limit_s=0.3)
    began = client.wait_for("began", "limited")[2]
    end = client.end_of("limited")
    assert (end["signal"], end["reason"]) == (signal.SIGTERM, "time_limit")
    assert 0.3e9 <= end["at_ns"] - began < 2e9


@pytest.mark.lesson(13)
async def test_a_lease_that_nobody_renews_ends_the_work(client: ReaperClient) -> None:
    await client.start()
    client.spawn("cut-off", "sleep", "60", disconnect_s=0.6, grace_s=0.2)
    client.spawn("free", "sleep", "60", disconnect_s=None)
    began = client.wait_for("began", "cut-off")[2]
    end = client.end_of("cut-off")
    assert end["reason"] == "disconnected"
    assert 0.35e9 <= end["at_ns"] - began < 2e9
    client.connect()
    assert client.known() == ["cut-off", "free"]
    assert not [line for line in client.lines if line[0] == "ended" and line[1] == "free"]


async def test_a_renewed_lease_holds_on(client: ReaperClient) -> None:
    await client.start()
    client.spawn("held", "sh", "-c", "sleep 1.5; exit 4", disconnect_s=1, grace_s=0)
    began = client.wait_for("began", "held")[2]
    client.send(op="renew", at_ns=began + 10**18)  # an instant to come counts as now
    end = client.end_of("held")
    assert end["reason"] == "disconnected"
    assert end["at_ns"] - began >= 1e9


@pytest.mark.lesson(9)
@pytest.mark.parametrize(
    "escape",
    [
        "setsid sh -c '{inner}' &",
        "(setsid sh -c '{inner}' &) &",
        "set -m; sh -c '{inner}' & disown 2>/dev/null",
        "env -i /usr/bin/setsid /bin/sh -c '{inner}' &",
    ],
)
async def test_whatever_a_job_leaves_behind_is_gone_before_it_is(
    client: ReaperClient, escape: str
) -> None:
    await client.start()
    pid_file = client.work / "escaped"
    inner = f'trap "" TERM HUP; echo $$ >{pid_file}; while :; do /bin/sleep 0.05; done'
    client.shell("escaper", f"{escape.format(inner=inner)}\nwhile ! [ -s {pid_file} ]; do :; done")
    end = client.end_of("escaper")
    assert end["code"] == 0
    assert end["gone_ns"] is not None
    assert not alive(pid_in(pid_file))


@pytest.mark.lesson(10)
async def test_another_attempts_daemon_is_left_alone(client: ReaperClient) -> None:
    await client.start()
    pid_file = client.work / "daemon"
    client.shell("owner", f"(setsid sh -c 'echo $$ >{pid_file}; sleep 60' &) & sleep 60")
    daemon = pid_in(pid_file)
    client.spawn("other", "/bin/true")
    client.end_of("other")
    assert alive(daemon)
    client.send(op="stop", key="owner", reason="cancelled", grace_s=1)
    client.end_of("owner")
    assert not alive(daemon)


async def test_fifty_megabytes_at_once_are_all_in_the_spool(client: ReaperClient) -> None:
    await client.start()
    client.shell("loud", "head -c 52428800 /dev/zero; echo tail >&2")
    end = client.end_of("loud")
    assert (end["out"], end["err"]) == (52428800, 5)
    assert client.output("loud", "out").stat().st_size == 52428800


async def test_a_repeated_order_starts_nothing(client: ReaperClient) -> None:
    await client.start()
    for _ in range(3):
        client.shell("once", "echo ran")
    client.spawn("after", "/bin/true")
    client.end_of("after")
    assert client.output("once", "out").read_text("ascii") == "ran\n"
    client.shell("once", "echo ran")
    client.spawn("last", "/bin/true")
    client.end_of("last")
    assert client.output("once", "out").read_text("ascii") == "ran\n"


async def test_a_new_agent_is_told_everything_until_it_is_forgotten(client: ReaperClient) -> None:
    await client.start()
    client.shell("done", "exit 9")
    client.spawn("running", "sleep", "60")
    client.end_of("done")
    client.wait_for("began", "running")
    client.connect()
    assert sorted(client.known()) == ["done", "running"]
    assert client.end_of("done")["code"] == 9
    client.send(op="forget", keys=["done", "running"])
    client.connect()
    assert client.known() == ["running"], "what runs is not forgotten"


@pytest.mark.lesson(9)
async def test_what_a_killed_reaper_ran_is_lost_and_killed(client: ReaperClient) -> None:
    await client.start()
    escaped = client.work / "escaped"
    client.shell("finished", "exit 2")
    client.end_of("finished")
    client.shell("victim", f"(setsid sh -c 'echo $$ >{escaped}; sleep 60' &) & sleep 60")
    main, stray = client.wait_for("began", "victim")[3], pid_in(escaped)
    client.kill_reaper()
    assert alive(main) and alive(stray)
    await client.start()
    end = client.end_of("victim")
    assert (end["reason"], end["code"], end["signal"]) == ("lost", None, None)
    assert not alive(main) and not alive(stray)
    assert client.end_of("finished")["code"] == 2, "a status once written is not lost"


async def test_sigterm_stops_all_work_and_ends_the_reaper(client: ReaperClient) -> None:
    await client.start()
    client.spawn("polite", "sleep", "60")
    client.shell("stubborn", "trap '' TERM; echo on; while :; do sleep 0.05; done", grace_s=0.3)
    client.wait_for_output("stubborn")
    pid = client.pid
    os.kill(pid, signal.SIGTERM)
    assert client.end_of("polite")["reason"] == "stopped"
    assert client.end_of("stubborn")["reason"] == "stopped"
    wait_until(lambda: not alive(pid), "the reaper ends")
    await client.start()
    assert client.end_of("polite")["reason"] == "stopped", "the log outlives the reaper"


async def test_a_second_reaper_does_not_start_beside_the_first(client: ReaperClient) -> None:
    await client.start()
    first = client.pid
    await client.start()
    assert client.pid == first and alive(first)


async def test_the_reaper_is_nobodys_child_and_its_command_line_is_not_an_agents(
    client: ReaperClient,
) -> None:
    await client.start()
    parent, command_line = parent_and_command_line(client.pid)
    assert parent != os.getpid()
    assert "agent" not in command_line.replace(str(client.directory), "")
    assert os.getsid(client.pid) != os.getsid(0)


async def test_a_mark_is_answered_when_every_end_before_it_is_told(client: ReaperClient) -> None:
    await client.start()
    client.spawn("one", "/bin/true")
    began_ns = client.wait_for("began", "one")[2]
    wait_until(lambda: b'"ended"' in (client.directory / "reaper.log").read_bytes(), "one ends")
    client.send(op="mark")
    assert client.wait_for("marked")[2] >= client.end_of("one")["at_ns"] >= began_ns
    kinds = [line[0] for line in client.lines]
    assert kinds.index("ended") < kinds.index("marked")


def test_a_mark_does_not_go_beyond_an_end_that_waits_for_what_is_left_of_its_work() -> None:
    ended = Attempt("ended", 1, "", "")
    ended.end = End(7, 0, None, "exited")
    told = Attempt("told", 1, "", "")
    told.end, told.ended = End(3, 0, None, "exited"), ["ended"]
    assert mark_line(9, [ended, told]) == b'["marked", "", 7]\n'
    assert mark_line(9, [told]) == b'["marked", "", 9]\n'
