"""How do dask and HyperQueue do the work of `bench_pipeline` on this machine?

Installs both from PyPI into an environment of their own under build/ and gives them the same
processes to start. It does not know Penstock.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

from measure.report import emit, say, spread
from measure.stamp import read_stamps, stamping_command

BUILD = Path(__file__).resolve().parent.parent / "build"
ENVIRONMENT = BUILD / "peers"
PACKAGES = ("distributed", "hyperqueue")
PEERS = {"dask": "dask_peer.py", "hyperqueue": "hyperqueue_peer.py"}
SLOTS = 32
TIMEOUT_S = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the counts")
    parser.add_argument("--only", choices=sorted(PEERS), help="one of the two")
    arguments = parser.parse_args()
    scale = 10 if arguments.quick else 1
    interpreter = peers_interpreter()
    for name, script in PEERS.items():
        if arguments.only in (None, name):
            measure(name, script, interpreter, scale)


def peers_interpreter() -> Path:
    """The Python of an environment that holds both peers; made when absent."""
    python = ENVIRONMENT / "bin" / "python"
    probe = [str(python), "-c", "import distributed, hyperqueue"]
    if not python.exists() or subprocess.run(probe, capture_output=True, check=False).returncode:
        say("installing dask and HyperQueue into build/peers")
        venv.create(ENVIRONMENT, with_pip=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", *PACKAGES],
            check=True,
            stdout=sys.stderr,
        )
    return python


def measure(name: str, script: str, python: Path, scale: int) -> None:
    say(f"{name}: {SLOTS} slots")
    with tempfile.TemporaryDirectory(prefix="penstock-peers-") as directory:
        file = Path(directory) / "stamps"
        settings: dict[str, Any] = {
            "slots": SLOTS,
            "warmup": 20,
            "samples": 400 // scale if name == "dask" else 200 // scale,
            "jobs": 4000 // scale,
            "stamp": stamping_command(BUILD),
            "file": str(file),
        }
        done = subprocess.run(
            [str(python), str(Path(__file__).parent / "peers" / script), json.dumps(settings)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": directory},
            text=True,
            timeout=TIMEOUT_S,
            check=True,
        )
        answer = json.loads(done.stdout.splitlines()[-1])
        started = read_stamps(file)
    common: dict[str, Any] = {"bench": "peers", "system": name, "version": answer["version"]}
    latencies_ms = [
        (started[job] - at_ns) / 1e6
        for number, (job, at_ns) in enumerate(answer["submitted"].items())
        if number >= settings["warmup"]
    ]
    emit(**common, what="submit_to_started", **spread(latencies_ms))
    emit(
        **common,
        what="noop_jobs_per_s",
        slots=SLOTS,
        jobs=settings["jobs"],
        jobs_per_s=answer["jobs_per_s"],
        durable=False,
    )


if __name__ == "__main__":
    main()
