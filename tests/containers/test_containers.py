"""What does a container do under the reaper, by real podman?"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from agent.reaper_client import boottime_ns, wait_until
from containers.conftest import ContainerClient


def test_what_it_writes_and_its_exit_code_are_known_and_nothing_is_left(
    client: ContainerClient,
) -> None:
    client.contain("k", "echo seen; echo wrong >&2; cat /etc/passwd >file; exit 7")
    end = client.end_of("k")
    assert (end["code"], end["signal"], end["reason"]) == (7, None, "exited")
    assert (end["out"], end["err"]) == (5, 6)
    assert (client.out("k"), client.err("k")) == ("seen\n", "wrong\n")
    assert "user" in (client.work / "file").read_text("ascii")
    assert client.wait_for("gone", "k")[2] >= end["at_ns"]
    assert client.containers() == []
    began = client.wait_for("began", "k")
    assert began[2] <= end["at_ns"] <= boottime_ns()


def test_a_signal_is_told_from_an_exit_code(client: ContainerClient) -> None:
    client.contain("k", "exit 137")
    assert (client.end_of("k")["code"], client.end_of("k")["signal"]) == (137, None)
    client.contain("s", "echo up; sleep 100")
    client.wait_for("began", "s")
    client.podman.call("kill", "--signal=KILL", client.name_of("s"))
    end = client.end_of("s")
    assert (end["code"], end["signal"], end["reason"]) == (None, signal.SIGKILL, "signalled")


def test_more_memory_than_its_limit_is_told_as_out_of_memory(client: ContainerClient) -> None:
    limits = ("--memory=32m", "--memory-swap=32m")
    client.contain("k", "exec dd if=/dev/zero of=/dev/null bs=128M count=1", *limits)
    end = client.end_of("k")
    assert end["reason"] == "out_of_memory"
    # of one that has died before it could be watched only podman tells, without its signal
    assert (end["code"], end["signal"]) in ((None, signal.SIGKILL), (137, None))
    client.contain("c", "dd if=/dev/zero of=/dev/null bs=128M count=1; exit $?", *limits)
    end = client.end_of("c")
    assert (end["code"], end["reason"]) == (137, "out_of_memory")
    client.contain("f", "dd if=/dev/zero of=/dev/null bs=128M count=1; exit 3", *limits)
    assert client.end_of("f")["reason"] == "exited"
    assert list(client.work.iterdir()) == []


def test_a_stop_is_heard_by_all_of_it_and_what_does_not_listen_is_killed(
    client: ContainerClient,
) -> None:
    client.contain("k", "trap 'echo bye; exit 4' TERM; echo up; while :; do sleep 0.1; done")
    client.contain("d", "trap '' TERM; echo up; while :; do sleep 0.1; done")
    for key in ("k", "d"):
        client.wait_for_output(key)
        client.send(op="stop", key=key, reason="cancelled", grace_s=1)
    end = client.end_of("k")
    assert (end["code"], end["reason"], client.out("k")) == (4, "cancelled", "up\nbye\n")
    end = client.end_of("d")
    assert (end["signal"], end["reason"]) == (signal.SIGKILL, "cancelled")
    client.wait_for("gone", "d")
    assert client.containers() == []


def test_a_time_limit_ends_it(client: ContainerClient) -> None:
    client.contain("k", "echo up; sleep 100", limit_s=0.5, grace_s=0)
    assert client.end_of("k")["reason"] == "time_limit"


def test_one_that_is_stopped_before_it_began_never_runs_on(client: ContainerClient) -> None:
    client.contain("k", "sleep 100", grace_s=0)
    client.send(op="stop", key="k", reason="cancelled", grace_s=0)
    assert client.end_of("k")["reason"] == "cancelled"
    if client.end_of("k")["gone_ns"] is None:
        client.wait_for("gone", "k")
    assert client.containers() == []


@pytest.mark.parametrize(
    ("script", "options", "reason", "words"),
    [
        ("", ("--entrypoint=/bin/nosuch",), "spawn_failed", "nosuch"),
        ("", ("--user=nobodyhere",), "spawn_failed", "nobodyhere"),
        ("", ("--device=penstock.test/none=GPU-0",), "device_failed", "GPU-0"),
        ("", ("--volume=/nowhere-at-all:/x",), "lost", "nowhere-at-all"),
    ],
)
def test_why_one_cannot_begin_says_whose_fault_it_is(
    client: ContainerClient, script: str, options: tuple[str, ...], reason: str, words: str
) -> None:
    client.contain("k", script, *options)
    end = client.end_of("k")
    assert (end["reason"], end["code"], end["signal"]) == (reason, None, None)
    assert words in end["message"]
    assert not any(line[0] == "began" for line in client.lines)
    wait_until(lambda: client.containers() == [], "nothing is left")


def test_user_limits_shared_memory_and_privileges_are_as_asked_for(
    client: ContainerClient,
) -> None:
    script = (
        "id -u; ulimit -n; echo mine >file; while read -r line; do case $line in"
        " *NoNewPrivs*) echo $line;; esac; done </proc/self/status;"
        " while read -r line; do case $line in *' /dev/shm '*) echo $line;; esac; done"
        " </proc/mounts; echo again >>/dev/stdout"
    )
    options = ("--user=user", "--ulimit=nofile=99:99", "--shm-size=8m")
    client.contain("k", script, *options, "--security-opt=no-new-privileges")
    assert client.end_of("k")["code"] == 0
    user, files, privileges, shm, again = client.out("k").splitlines()
    assert (user, files, privileges, again) == ("1234", "99", "NoNewPrivs: 1", "again")
    assert "size=8192k" in shm
    assert (client.work / "file").stat().st_uid == 1234


def test_a_mount_is_there_and_cannot_be_written_unless_that_was_said(
    client: ContainerClient, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "given").write_text("from outside\n", "ascii")
    client.contain("k", "cat /place/given; echo x >/place/new", f"--volume={place}:/place:ro")
    assert client.end_of("k")["code"] != 0
    assert client.out("k") == "from outside\n"
    client.contain("w", "echo x >/place/new", f"--volume={place}:/place")
    assert client.end_of("w")["code"] == 0
    assert (place / "new").read_text("ascii") == "x\n"


def test_variables_reach_it_whatever_they_hold_and_stand_in_no_command_line(
    client: ContainerClient,
) -> None:
    env = {
        "PLAIN": "a b=c #d",
        "LINES": "one\ntwo",
        "LD_PRELOAD": "/penstock/job/evil.so",
        "EMPTY": "",
    }
    seen: list[str] = []

    def look() -> bool:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.append(path.read_bytes().decode(errors="replace"))
            except OSError:
                continue
        return client.output("k", "out").exists() and client.out("k").count("\n") >= 4

    client.contain("k", 'echo "$PLAIN"; echo "$LINES"; echo "$LD_PRELOAD"', env=env)
    wait_until(look, "it has written")
    assert client.out("k") == "a b=c #d\none\ntwo\n/penstock/job/evil.so\n"
    assert not any("a b=c" in line or "one\ntwo" in line for line in seen)
    assert "podman" in "".join(seen)


def test_a_variable_that_would_steer_podman_itself_is_refused(client: ContainerClient) -> None:
    client.contain("k", "true", env={"LD_PRELOAD": "/penstock/job/evil\n.so"})
    end = client.end_of("k")
    assert end["reason"] == "spawn_failed"
    assert "LD_PRELOAD" in end["message"]


def test_many_at_once_all_end_as_they_should(client: ContainerClient) -> None:
    for number in range(8):
        client.contain(f"k{number}", f"echo {number}; exit {number}")
    for number in range(8):
        end = client.end_of(f"k{number}")
        assert (end["code"], client.out(f"k{number}")) == (number, f"{number}\n")
    for number in range(8):
        client.wait_for("gone", f"k{number}")
    assert client.containers() == []
