"""How do tests come to a podman that works here, and to an image?

The image is a tiny root file system of this host's own programs, imported under a name of this test
run and removed with it. It does not know what is tested.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

PROGRAMS = ("sh", "cat", "sleep", "dd", "id", "ls", "env", "mkdir")
LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")
TRIES = (
    (("--runtime=runc", "--cgroup-manager=cgroupfs"), LIMITS),
    (("--cgroup-manager=cgroupfs",), ()),
    ((), ()),
)
"""Options of podman and of `podman run`, from those that the barest host needs on."""
TIMEOUT_S = 60


class Podman(NamedTuple):
    """`options`: of podman itself; `run_options`: of `podman run`; `image`: with a small root."""

    options: tuple[str, ...]
    run_options: tuple[str, ...]
    image: str

    @property
    def argv(self) -> list[str]:
        return ["podman", "--log-level=fatal", *self.options]

    def call(self, *args: str) -> str:
        done = subprocess.run(
            [*self.argv, *args], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        if done.returncode:
            raise AssertionError(f"podman {args}: {done.stderr}")
        return done.stdout

    def containers(self, label: str) -> list[dict[str, Any]]:
        """All that bear it, `NAME=VALUE`."""
        found: list[dict[str, Any]] = json.loads(
            self.call("ps", "--all", "--format=json", f"--filter=label={label}")
        )
        return found


def find_podman(directory: Path) -> tuple[Podman | None, str]:
    """One that runs a container here, and why there is none."""
    if shutil.which("podman") is None:
        return None, "podman is not installed (Debian: apt-get install podman runc)"
    image, why = f"localhost/penstock-test:{os.getpid()}", ""
    archive = directory / "root.tar"
    _make_root(directory / "root", archive)
    for options, run_options in TRIES:
        podman = Podman(options, run_options, image)
        try:
            podman.call("import", str(archive), image)
            podman.call("run", "--rm", "--network=host", *run_options, image, "/bin/sh", "-c", ":")
        except (AssertionError, subprocess.TimeoutExpired) as error:
            why = str(error)
            continue
        return podman, ""
    return None, f"podman runs no container here: {why}"


def _make_root(root: Path, archive: Path) -> None:
    for name in ("bin", "etc", "tmp", "proc", "dev", "sys", "place"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nuser:x:1234:1234::/:/bin/sh\n")
    for program in PROGRAMS:
        path = shutil.which(program)
        if path is None:
            raise AssertionError(f"this host has no {program}")
        shutil.copy(os.path.realpath(path), root / "bin" / program)
        linked = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
        for library in re.findall(r"(/\S+) \(0x", linked.stdout):
            target = root / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(os.path.realpath(library), target)
    with tarfile.open(archive, "w") as tar:
        tar.add(root, ".")
