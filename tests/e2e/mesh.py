"""How does a test start, look into, hurt and stop a whole mesh?

The real `penstock up` as a subprocess with a home directory of its own, its command line as a user
calls it, its children by what they are, and the proof that nothing is left after it. It does not
know what the mesh does with jobs.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from e2e import processes

PENSTOCK = Path(sys.executable).parent / "penstock"
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
CLI_TIMEOUT_S = 40.0
POLL_S = 0.01
MARK = "PENSTOCK_E2E_MARK"
SERVICES = ("inventory", "scheduler", "metering", "gateway")

Completed = subprocess.CompletedProcess[str]


class Mesh:
    """One data directory and, between `start` and `stop`, one running mesh on it."""

    def __init__(self, home: Path, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.data = home / "data"
        self.arguments = arguments or ("--simulate", "2x8xH100")
        self.mark = uuid.uuid4().hex
        self.nats_url = self.http_url = self.ready_line = ""
        self._runs = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.env = self._environment(env or {})

    def _environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PENSTOCK_", "OTEL_"))}
        for variable, folder in (
            ("HOME", "."),
            ("XDG_CONFIG_HOME", ".config"),
            ("XDG_STATE_HOME", ".state"),
            ("XDG_DATA_HOME", ".share"),
            ("XDG_CACHE_HOME", ".cache"),
            ("XDG_RUNTIME_DIR", ".run"),
        ):
            path = (self.home / folder).resolve()
            path.mkdir(parents=True, exist_ok=True)
            kept[variable] = str(path)
        return {**kept, "NO_COLOR": "1", MARK: self.mark, **extra}

    # -- life ----------------------------------------------------------------------------------

    def start(self, *, ignore_sigint: bool = False, timeout_s: float = READY_TIMEOUT_S) -> Mesh:
        """Starts `penstock up` and returns when it has said that it is ready."""
        process = self.launch(ignore_sigint=ignore_sigint)
        deadline = time.monotonic() + timeout_s
        while not (lines := [x for x in self.output().splitlines() if x.startswith("ready")]):
            if process.poll() is not None or time.monotonic() > deadline:
                self.destroy()
                raise AssertionError(f"not ready (exit {process.returncode})\n{self.logs()}")
            time.sleep(POLL_S)
        self.ready_line = lines[0]
        self.nats_url = _address(self.ready_line, r"(?:nats|tls)://[^\s,;]+")
        self.http_url = _address(self.ready_line, r"https?://[^\s,;]+")
        return self

    def launch(self, *, ignore_sigint: bool = False) -> subprocess.Popen[bytes]:
        """Starts `penstock up` without waiting for it."""
        self._runs += 1
        command = [
            str(PENSTOCK), "up", "--data", str(self.data), "--port", "0", "--http-port", "0",
            *self.arguments,
        ]  # fmt: skip
        if ignore_sigint:
            command = ["/bin/sh", "-c", "trap '' INT; exec \"$@\"", "sh", *command]
        with open(self.out_file, "wb") as out, open(self.err_file, "wb") as err:
            self._process = subprocess.Popen(
                command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=self.env,
                cwd=self.home, start_new_session=True,
            )  # fmt: skip
        return self._process

    def stop(self, how: int = signal.SIGTERM, timeout_s: float = STOP_TIMEOUT_S) -> float:
        """Ends the mesh and proves that it ended well and left nothing; returns the seconds."""
        process = self._require()
        began = time.monotonic()
        process.send_signal(how)
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            left = self.leftovers()
            self.destroy()
            raise AssertionError(
                f"penstock up did not stop in {timeout_s} s; running: {left}\n{self.logs()}"
            ) from None
        took_s = time.monotonic() - began
        self._process = None
        left = self.leftovers()
        self.destroy()
        if code != 0 or left:
            raise AssertionError(f"exit {code}, left behind: {left}\n{self.logs()}")
        return took_s

    def destroy(self) -> None:
        """Kills whatever of this mesh still runs; for the end of a failed test."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        for pid in self.leftovers():
            _kill_if_there(pid)

    def leftovers(self) -> dict[int, tuple[str, ...]]:
        """Processes of this mesh other than `penstock up` itself, by environment or data path."""
        found = processes.marked(MARK, self.mark, str(self.data))
        if self._process is not None:
            found.pop(self._process.pid, None)
        return {pid: line for pid, line in found.items() if processes.is_running(pid)}

    @property
    def is_up(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._require().pid

    def _require(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the mesh is not running")
        return self._process

    # -- what it said --------------------------------------------------------------------------

    @property
    def out_file(self) -> Path:
        return self.home / f"up.{self._runs}.out"

    @property
    def err_file(self) -> Path:
        return self.home / f"up.{self._runs}.err"

    def output(self) -> str:
        return self.out_file.read_text(encoding="utf-8", errors="replace")

    def logs(self, tail_bytes: int = 6000) -> str:
        """The ends of everything written by the mesh: for the message of a failed test."""
        files = [self.out_file, self.err_file, *sorted(self.data.glob("**/*.log"))]
        return "\n".join(
            f"--- {file}\n{file.read_text(encoding='utf-8', errors='replace')[-tail_bytes:]}"
            for file in files
            if file.exists()
        )

    @property
    def creds(self) -> Path:
        return self.data / "client.creds"

    # -- its processes -------------------------------------------------------------------------

    def children(self) -> dict[int, tuple[str, ...]]:
        return processes.children(self.pid)

    def pids_of(self, role: str) -> list[int]:
        """Direct children by role: a service's name, `agent`, or `nats-server`."""
        return sorted(pid for pid, line in self.children().items() if role_of(line) == role)

    def pid_of(self, role: str) -> int:
        """The only child of that role, once there is one."""
        (pid,) = until(lambda: self.pids_of(role), what=role)
        return int(pid)

    def kill(self, pid: int, how: int = signal.SIGKILL) -> None:
        os.kill(pid, how)

    # -- its command line ----------------------------------------------------------------------

    def cli(
        self,
        *arguments: str,
        input: str | None = None,
        exit_code: int | None = 0,
        timeout_s: float = CLI_TIMEOUT_S,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Runs `penstock ...` as this mesh's user; checks the exit code unless it is None."""
        done = subprocess.run(
            [str(PENSTOCK), *arguments], input=input, capture_output=True, text=True,
            timeout=timeout_s, env={**self.env, **(env or {})}, cwd=self.home, check=False,
        )  # fmt: skip
        if exit_code is not None and done.returncode != exit_code:
            raise AssertionError(
                f"penstock {' '.join(arguments)}: exit {done.returncode}, not {exit_code}\n"
                f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
            )
        return done

    def cli_json(self, *arguments: str, exit_code: int | None = 0) -> Any:
        done = self.cli(*arguments, "--json", exit_code=exit_code)
        return json.loads(done.stdout)

    def jobs(self, name: str = "") -> list[dict[str, Any]]:
        """The jobs that `penstock jobs` lists, newest first; only those of a name when given."""
        listed = self.cli_json("jobs", "--limit", "1000")
        return [job for job in listed if not name or job["spec"].get("name") == name]

    def nodes(self) -> dict[str, dict[str, Any]]:
        """What `penstock nodes` says, by the node's name."""
        views = self.cli_json("nodes")
        return {view["description"]["node"]: view for view in views}

    def popen(self, *arguments: str) -> subprocess.Popen[str]:
        """A `penstock` command that goes on while the test does something else."""
        return subprocess.Popen(
            [str(PENSTOCK), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            stdin=subprocess.DEVNULL, env=self.env, cwd=self.home,
        )  # fmt: skip


def role_of(line: tuple[str, ...]) -> str:
    """Which part of the mesh a command line is; empty when it is none."""
    if line and Path(line[0]).name == "nats-server":
        return "nats-server"
    words = set(line[1:])
    for service in SERVICES:
        if service in words or f"penstock_{service}" in words:
            return service
    return "agent" if any("agent" in word for word in line) else ""


def until(condition: Callable[[], Any], timeout_s: float = 15.0, what: str = "") -> Any:
    """Polls a plain condition until it is truthy and returns its value."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what or condition} (last {value!r})")
        time.sleep(POLL_S)
    return value


def _address(line: str, pattern: str) -> str:
    found = re.search(pattern, line)
    if found is None:
        raise AssertionError(f"the ready line names no {pattern}: {line}")
    return found.group(0)


def _kill_if_there(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
