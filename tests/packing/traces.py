"""Small traces on disk, in the columns of OpenB. The only place that writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

NODE_HEAD = "sn,cpu_milli,memory_mib,gpu,model"
JOB_HEAD = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec"
NODE_LINES = (
    "node-a,32000,131072,4,A100",
    "node-b,32000,131072,4,A100",
    "node-c,16000,65536,2,T4",
    "node-d,8000,65536,0,",
)
JOB_LINES = (
    "job-1,4000,8192,1,1000,",
    "job-2,4000,8192,1,470,",
    "job-3,2000,8192,1,320,T4",
    "job-4,2000,8192,1,230,A100|T4",
    "job-5,16000,8192,4,1000,",
    "job-6,3000,4096,0,0,",
)


def nodes_file(folder: Path, lines: Sequence[str] = NODE_LINES, head: str = NODE_HEAD) -> Path:
    return _written(folder / "nodes.csv", head, lines)


def jobs_file(folder: Path, lines: Sequence[str] = JOB_LINES, head: str = JOB_HEAD) -> Path:
    return _written(folder / "jobs.csv", head, lines)


def _written(path: Path, head: str, lines: Sequence[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in (head, *lines) if line), "utf-8")
    return path
