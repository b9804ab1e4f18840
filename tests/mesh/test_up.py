"""Does `penstock up` come up, heal and go down, with stand-ins for services and agents?"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock_mesh.process_identity import ProcessIdentity, read_pid_file

STAND_IN = Path(__file__).parent / "stand_in"
PROGRAM = "from penstock_mesh.command import command; command()"
SMALL = ("--port", "0", "--http-port", "0")
TIMEOUT_S = 30.0
CHILDREN = 7
"""The broker, four services, two nodes."""


class Up:
    """One `penstock up` with a home of its own."""

    def __init__(self, home: Path, *arguments: str, broken: str = "", ignore: str = "") -> None:
        self.home = home
        self.data = home / "data"
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("PENSTOCK_")},
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "PYTHONPATH": str(STAND_IN),
            "STAND_IN_BROKEN": broken,
        }
        command = [sys.executable, "-c", PROGRAM, "--data", str(self.data), *arguments]
        if ignore:
            command = ["/bin/sh", "-c", f"trap '' {ignore}; exec \"$@\"", "sh", *command]
        with open(home / "out", "wb") as out, open(home / "err", "wb") as err:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=err, env=environment, start_new_session=True
            )

    def said(self) -> str:
        return (self.home / "out").read_text(encoding="utf-8")

    def complained(self) -> str:
        return (self.home / "err").read_text(encoding="utf-8")

    def wait_ready(self) -> str:
        self.until(lambda: self.said().endswith("\n"))
        return self.said()

    def until(self, condition: Any) -> Any:
        deadline = time.monotonic() + TIMEOUT_S
        while not (value := condition()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self.process.poll()}\n{self.said()}\n{self.complained()}")
            time.sleep(0.01)
        return value

    def processes(self) -> dict[str, ProcessIdentity]:
        """The children by name, as `up` itself notes them."""
        recorded = json.loads((self.data / "processes.json").read_bytes())
        return {name: ProcessIdentity(**fields) for name, fields in recorded.items()}

    def reapers(self) -> list[ProcessIdentity]:
        found = [read_pid_file(file) for file in self.data.glob("nodes/*/reaper.pid")]
        return [reaper for reaper in found if reaper is not None]

    def everything(self) -> list[ProcessIdentity]:
        return [*self.processes().values(), *self.reapers()]

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_S)

    def destroy(self) -> None:
        running = self.everything() if (self.data / "processes.json").exists() else []
        self.process.kill()
        self.process.wait()
        for process in running:
            process.send(signal.SIGKILL)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One that is up, for tests that leave it as it is."""
    up = Up(tmp_path_factory.mktemp("up"), *SMALL, "--simulate", "1x2xH100")
    up.wait_ready()
    yield up
    up.destroy()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """`start(...)` runs `penstock up` with one local and one simulated node on free ports."""
    made: list[Up] = []

    def make(*arguments: str, **options: str) -> Up:
        given = arguments or (*SMALL, "--simulate", "1x2xH100")
        made.append(Up(tmp_path, *given, **options))
        return made[-1]

    yield make
    for up in made:
        up.destroy()


def test_it_says_where_everything_is_once_all_nodes_can_take_work(shared: Up) -> None:
    up = shared
    line = up.wait_ready()
    assert line.startswith("ready nats://127.0.0.1:")
    assert line.count("\n") == 1
    assert "nodes=2 gpus=2" in line
    assert "ready" not in up.complained()
    context = json.loads((up.home / "config/penstock/context.json").read_bytes())
    assert context["nats_url"] in line
    assert context["http_url"] in line
    for secret in ("client.creds", "http.token", "keys.json", "nats-server.conf"):
        assert (up.data / secret).stat().st_mode & 0o077 == 0
    assert context["creds"] == str(up.data / "client.creds")


def test_it_prints_one_json_object_when_asked(start: Any) -> None:
    up = start(*SMALL, "--no-local-node", "--simulate", "1x1xA", "--json")
    said = json.loads(up.wait_ready())
    assert said["ready"] is True
    assert said["nodes"] == ["sim-a-1"]


def test_all_processes_are_direct_children_and_only_the_nodes_are_agents(shared: Up) -> None:
    up = shared
    processes = up.processes()
    assert len(processes) == CHILDREN
    for name, process in processes.items():
        line = Path(f"/proc/{process.pid}/cmdline").read_text(encoding="utf-8")
        parent = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
        assert int(parent.split()[1]) == up.process.pid
        assert ("agent" in line) == name.startswith("node-")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything_with_exit_code_0(start: Any, number: signal.Signals) -> None:
    up = start()
    up.wait_ready()
    running = up.everything()
    assert len(running) == CHILDREN + 2
    assert up.end(number) == 0
    assert not any(process.alive for process in running)


def test_sigint_ends_it_also_when_it_was_ignored_at_start(start: Any) -> None:
    up = start(*SMALL, "--simulate", "1x1xA", ignore="INT")
    up.wait_ready()
    running = up.everything()
    assert up.end(signal.SIGINT) == 0
    assert not any(process.alive for process in running)


def test_nohup_keeps_it_running(start: Any) -> None:
    up = start(*SMALL, "--simulate", "1x1xA", ignore="HUP")
    up.wait_ready()
    up.process.send_signal(signal.SIGHUP)
    assert up.end(signal.SIGTERM) == 0


def test_a_signal_while_it_starts_ends_it(start: Any) -> None:
    up = start()
    up.until(lambda: "services" in up.complained())
    assert up.end(signal.SIGTERM) == 0
    assert up.said() == ""
    assert not any(process.alive for process in up.everything())


def test_each_process_that_is_killed_runs_again(start: Any) -> None:
    up = start()
    up.wait_ready()
    for name, process in up.processes().items():
        process.send(signal.SIGKILL)
        up.until(lambda name=name, process=process: up.processes().get(name, process) != process)
    assert up.end(signal.SIGTERM) == 0


def test_reapers_of_agents_that_are_dead_or_frozen_are_ended_too(start: Any) -> None:
    up = start(*SMALL, "--no-local-node", "--simulate", "2x1xA")
    up.wait_ready()
    reapers, processes = up.reapers(), up.processes()
    processes["node-sim-a-1"].send(signal.SIGSTOP)
    up.process.send_signal(signal.SIGSTOP)
    processes["node-sim-a-2"].send(signal.SIGKILL)
    up.process.send_signal(signal.SIGTERM)
    up.process.send_signal(signal.SIGCONT)
    assert up.process.wait(TIMEOUT_S) == 0
    assert not any(process.alive for process in (*reapers, *processes.values()))


def test_after_being_killed_a_new_one_continues_on_the_same_directory(start: Any) -> None:
    up = start()
    up.wait_ready()
    first = up.processes()
    keys = [(up.data / name).read_bytes() for name in ("keys.json", "client.creds", "http.token")]
    up.process.kill()
    up.process.wait()
    again = start()
    again.wait_ready()
    assert not any(process.alive for process in first.values())
    assert keys == [
        (again.data / name).read_bytes() for name in ("keys.json", "client.creds", "http.token")
    ]
    for reaper in up.reapers():
        reaper.send(signal.SIGKILL)


def test_reapers_of_nodes_that_a_later_one_does_not_run_are_ended(start: Any) -> None:
    up = start()
    up.wait_ready()
    old = next(r for r in up.reapers() if r == read_pid_file(sim_pid_file(up)))
    up.process.kill()
    up.process.wait()
    again = start(*SMALL)
    again.wait_ready()
    assert not old.alive


def sim_pid_file(up: Up) -> Path:
    return up.data / "nodes/sim-h100-1/reaper.pid"


def test_a_directory_in_use_is_refused(shared: Up) -> None:
    second = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--data", str(shared.data)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 1
    assert f"pid {shared.process.pid}" in second.stderr
    assert shared.process.poll() is None


def test_an_explicit_port_that_is_taken_is_refused(start: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        up = start("--port", str(taken.getsockname()[1]))
        assert up.process.wait(TIMEOUT_S) == 1
    assert "--port" in up.complained()
    assert "Traceback" not in up.complained()


def test_a_service_that_cannot_start_ends_the_start_with_its_reason(start: Any) -> None:
    up = start(*SMALL, broken="metering")
    assert up.process.wait(TIMEOUT_S) == 1
    assert "metering ends whenever it is started" in up.complained()
    assert "this stand-in is broken" in up.complained()
    assert not any(process.alive for process in up.everything())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--bind", "0.0.0.0"), "needs TLS: add --tls-cert and --tls-key"),
        (("--simulate", "8xH100"), "NxGxMODEL"),
        (("--no-local-node",), "no node to run"),
        (("--tls-cert", __file__), "belong together"),
        (("--port", "70000"), "--port"),
    ],
)
def test_a_wrong_option_is_refused_by_a_sentence(
    start: Any, arguments: tuple[str, ...], sentence: str
) -> None:
    up = start(*arguments)
    assert up.process.wait(TIMEOUT_S) in (1, 2)
    assert sentence in up.complained()
    assert "Traceback" not in up.complained()
