"""Do the examples in the repository do what they promise?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from e2e.mesh import Mesh, until

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
RAW_CLIENT_LINES_MAX = 30


def test_a_client_of_thirty_lines_without_penstock_code_follows_its_job(mesh: Mesh) -> None:
    script = EXAMPLES / "raw_client.py"
    source = script.read_text(encoding="utf-8")
    assert "penstock" not in source.replace("penstock.v1", "").split('"""')[2]
    lines = [line for line in source.split('"""')[2].splitlines() if line.strip()]
    assert len(lines) <= RAW_CLIENT_LINES_MAX
    done = subprocess.run(
        [
            sys.executable,
            str(script),
            str(ROOT / "docs" / "asyncapi.json"),
            mesh.nats_url,
            str(mesh.creds),
            *("sh", "-c", "exit 5"),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        env=mesh.env,
        cwd=mesh.home,
        check=True,
    )
    facts = done.stdout.split("\n")
    assert facts[0].strip() == "submitted"
    assert facts[-2] == "failed 5"


def test_the_example_jobs_run(mesh: Mesh) -> None:
    jobs = [job["job_id"] for job in mesh.cli_json("submit", str(EXAMPLES / "job.yaml"))]
    for job_id in jobs:
        until(lambda job_id=job_id: mesh.cli_json("job", job_id)["state"] == "succeeded")
    ranks = mesh.cli("logs", jobs[1]).stdout.splitlines()
    assert len(ranks) == 4
    assert len({line.partition("meets at ")[2] for line in ranks}) == 1
