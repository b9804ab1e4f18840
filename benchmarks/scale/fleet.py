"""How does a benchmark get ten thousand nodes?

Starts driver processes with a credential that may speak for every node, and passes commands on to
them. Real agents have a connection and a credential each: what the broker spends on these is not
measured here. It does not know what is being measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from penstock_contracts.message_type import NODE
from penstock_mesh.credentials import Trust

BENCHMARKS = Path(__file__).resolve().parent.parent
ANY = "*"


def creds_for_all_nodes(data: Path) -> Path:
    """A node's credential whose name is the wildcard, so that it may be any node. Only who has the
    mesh's keys can make it."""
    path = data / "creds" / "all-nodes.creds"
    trust = Trust.load_or_create(data / "keys.json")
    path.write_text(trust.mint(NODE, ANY, int(time.time())), "ascii")
    return path


class Fleet:
    """Simulated nodes in `drivers` processes."""

    def __init__(
        self,
        url: str,
        creds: Path,
        *,
        nodes: int,
        devices: int,
        model: str = "H100",
        label: str = "n",
        drivers: int = 1,
        connections: int = 8,
    ) -> None:
        share = -(-nodes // drivers)
        self.nodes = nodes
        self._processes = []
        for first in range(0, nodes, share):
            plan = {
                "url": url,
                "creds": str(creds),
                "first": first,
                "nodes": min(share, nodes - first),
                "devices": devices,
                "model": model,
                "connections": connections,
                "label": label,
            }
            process = subprocess.Popen(
                [sys.executable, "-m", "scale.driver", json.dumps(plan)],
                cwd=BENCHMARKS,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._processes.append(process)
        for process in self._processes:
            self._answer(process)

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def ask(self, **command: object) -> list[dict[str, Any]]:
        """One command to every driver; their answers."""
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.write(json.dumps(command) + "\n")
                process.stdin.flush()
        return [self._answer(process) for process in self._processes]

    def stats(self) -> dict[str, Any]:
        answers = self.ask(do="stats")
        troubles: Counter[str] = Counter()
        for answer in answers:
            troubles.update(answer["troubles"])
        return {
            "beats": sum(answer["beats"] for answer in answers),
            "late_ms_max": max(answer["late_ms_max"] for answer in answers),
            "owes": sum(answer["owes"] for answer in answers),
            "cpu_s": round(sum(answer["cpu_s"] for answer in answers), 2),
            "troubles": dict(troubles),
        }

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()

    def _answer(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        line = process.stdout.readline() if process.stdout is not None else ""
        if not line:
            raise RuntimeError("a driver of simulated nodes has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def a_fleet(url: str, creds: Path, **plan: Any) -> Iterator[Fleet]:
    """A fleet as `Fleet` takes it, gone afterwards."""
    fleet = Fleet(url, creds, **plan)
    try:
        yield fleet
    finally:
        fleet.close()
