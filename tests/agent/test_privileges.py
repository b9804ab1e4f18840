"""Does a job run as whom, within what limits and with which /tmp its order says?"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from agent.reaper_client import ReaperClient, alive, pid_in, wait_until

NOBODY = 65534
SYSTEM_PYTHON = Path("/usr/bin/python3")
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may change users")


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[ReaperClient]:
    for directory in (tmp_path, *tmp_path.parents[:3]):  # a user must come to its work directory
        directory.chmod(stat.S_IMODE(directory.stat().st_mode) | 0o011)
    client = ReaperClient(tmp_path)
    await client.start()
    yield client
    client.close()


Ask = Callable[..., str]


@pytest.fixture
def ask(client: ReaperClient) -> Iterator[Ask]:
    """`ask(script, **order)` is what the script writes as a job with that order."""

    def answer(script: str, **order: object) -> str:
        client.shell("k", script, **{"slot": 1, **order})
        end = client.end_of("k")
        errors = client.output("k", "err")
        assert end["code"] == 0, (end, errors.read_text("utf-8") if errors.exists() else "")
        return client.output("k", "out").read_text("utf-8").strip()

    yield answer


@AS_ROOT
@pytest.mark.parametrize("user", ["nobody", str(NOBODY), "nobody:nogroup", f"{NOBODY}:{NOBODY}"])
def test_a_job_runs_as_its_user_and_nothing_else(ask: Ask, user: str) -> None:
    said = ask("id -u; id -g; id -G; grep -E '^(Uid|CapEff)' /proc/self/status", user=user)
    uid, gid, groups, uids, capabilities = said.splitlines()
    assert (uid, gid, groups) == (str(NOBODY), str(NOBODY), str(NOBODY))
    assert set(uids.split()[1:]) == {str(NOBODY)}
    assert int(capabilities.split()[1], 16) == 0


@AS_ROOT
def test_a_user_owns_its_work_directory_and_its_output(ask: Ask, client: ReaperClient) -> None:
    said = ask("echo mine >file; echo again >/dev/stdout; cat $PWD/file; echo $HOME", user="nobody")
    assert said.splitlines() == ["again", "mine", "/nonexistent"]
    assert (client.work / "file").stat().st_uid == NOBODY


@AS_ROOT
def test_a_user_reads_nothing_of_the_state_directory(ask: Ask, client: ReaperClient) -> None:
    (client.directory / "secret").write_text("x", "ascii")
    (client.directory / "secret").chmod(0o600)
    said = ask(
        f"cat {client.directory}/secret {client.directory}/reaper.log || echo no", user="nobody"
    )
    assert said == "no"


@AS_ROOT
def test_a_user_that_is_not_there_is_named(client: ReaperClient) -> None:
    client.shell("k", "true", slot=1, user="no-such-user")
    end = client.end_of("k")
    assert (end["reason"], end["code"]) == ("spawn_failed", None)
    assert "no-such-user" in end["message"]
    client.shell("g", "true", slot=1, user="nobody:no-such-group")
    assert "no-such-group" in client.end_of("g")["message"]


@AS_ROOT
def test_a_work_directory_that_the_user_cannot_reach_is_named(client: ReaperClient) -> None:
    barred = client.directory / "barred"
    work = barred / "a" / "b" / "w"
    work.mkdir(parents=True)
    barred.chmod(0o700)
    client.shell("k", "true", slot=1, user="nobody", cwd=str(work))
    end = client.end_of("k")
    assert end["reason"] == "spawn_failed" and str(work) in end["message"]


def test_limits_of_a_process_are_set_and_hold(ask: Ask) -> None:
    said = ask(
        "ulimit -n; ulimit -c; ulimit -Hn; head -c 3000000 /dev/zero >f; stat -c %s f; true",
        rlimits={"nofile": 77, "core": 0, "fsize": 1_000_000},
    )
    assert said.splitlines() == ["77", "0", "77", "1000000"]


def test_a_program_that_cannot_be_started_says_so_by_the_long_way_too(client: ReaperClient) -> None:
    client.spawn("k", "no-such-program", slot=1, rlimits={"core": 0})
    end = client.end_of("k")
    assert end["reason"] == "spawn_failed" and "no-such-program" in end["message"]
    assert not [line for line in client.lines if line[0] == "began"]


@pytest.mark.parametrize("how", [{}, {"rlimits": {"core": 0}}])
def test_nothing_that_a_job_starts_gains_privileges(ask: Ask, how: dict[str, object]) -> None:
    assert ask("grep NoNewPrivs /proc/self/status", **how).split() == ["NoNewPrivs:", "1"]


@pytest.mark.parametrize("how", [{}, {"rlimits": {"core": 0}}])
def test_a_job_leads_a_session_and_has_no_other_descriptors(
    ask: Ask, client: ReaperClient, how: dict[str, object]
) -> None:
    said = ask("readlink /proc/$$/fd/*; cut -d' ' -f6 /proc/$$/stat; echo $$", **how)
    *files, session, pid = said.splitlines()
    assert files == ["/dev/null", *(str(client.output("k", name)) for name in ("out", "err"))]
    assert session == pid


@AS_ROOT
def test_a_private_tmp_is_empty_and_seen_by_nobody_else(ask: Ask, client: ReaperClient) -> None:
    outside = Path(f"/tmp/penstock-test-{os.getpid()}")
    said = ask(
        f"ls -A /tmp | grep -v pytest-of; echo mine >{outside}; cat {outside}; pwd; echo there >x",
        private_tmp=True,
    )
    assert said.splitlines() == ["mine", str(client.work)]
    assert not outside.exists()
    assert (client.work / "x").read_text("ascii") == "there\n", "the work directory is the real one"


@AS_ROOT
def test_no_mount_of_a_private_tmp_is_left_when_a_daemon_kept_it(client: ReaperClient) -> None:
    file = client.work / "pid"
    client.shell(
        "k", f"setsid sh -c 'echo $$ >{file}; sleep 60' & sleep 60", slot=1, private_tmp=True
    )
    daemon = pid_in(file)
    before = Path("/proc/self/mounts").read_text("utf-8")
    assert "penstock /tmp tmpfs" in Path(f"/proc/{daemon}/mounts").read_text("utf-8")
    assert "penstock /tmp tmpfs" not in before, "only the job's own name space has it"
    client.send(op="stop", key="k", reason="cancelled", grace_s=0.1)
    client.end_of("k")
    assert not alive(daemon)


@AS_ROOT
@pytest.mark.skipif(not SYSTEM_PYTHON.exists(), reason="no Python that every user may start")
def test_a_host_without_rights_says_so_and_runs_plain_jobs(tmp_path: Path) -> None:
    for directory in (tmp_path, *tmp_path.parents[:3]):
        directory.chmod(stat.S_IMODE(directory.stat().st_mode) | 0o011)
    client = ReaperClient(tmp_path)
    os.chown(tmp_path, NOBODY, NOBODY)
    os.chown(client.work, NOBODY, NOBODY)
    client.start_without_groups(
        str(SYSTEM_PYTHON), user=NOBODY, group=NOBODY, extra_groups=[], env={}
    )
    try:
        assert client.abilities["offers"] == ["paid_time"]
        assert client.abilities["facts"]["cgroups"].startswith("none")
        client.shell("plain", "id -u; grep NoNewPrivs /proc/self/status", slot=1, memory_mib=64)
        assert client.end_of("plain")["code"] == 0
        said = client.output("plain", "out").read_text("ascii").split()
        assert said == [str(NOBODY), "NoNewPrivs:", "1"]
        client.shell("same", "id -u", slot=1, user="nobody")
        assert client.end_of("same")["code"] == 0
        for key, order in (
            ("root", {"user": "root"}),
            ("tmp", {"private_tmp": True}),
            ("pids", {"pids_max": 9}),
        ):
            client.shell(key, "true", slot=1, **order)
            assert client.end_of(key)["reason"] == "spawn_failed"
        wait_until(lambda: not client.groups, "nothing was made")
    finally:
        client.close()
