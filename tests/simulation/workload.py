"""What do the world's tenants ask for?

Draws jobs: how they are shaped and, as arguments of the simulated program, how they behave. It does
not know who submits them.
"""

from __future__ import annotations

import random

import msgspec

from penstock_contracts.ids import ulid
from penstock_contracts.jobs import JobSpec

PROGRAM = "sim"
IMAGES = ("app:1", "app:2")
UNKNOWN_IMAGE = "app:none"
"""Of which no registry has heard."""


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """How one rank's program behaves. `signal`: it dies of that one by itself; `stubborn`: it takes
    no notice of SIGTERM; `fails_to_start`: there is no such program. `gpu_milli`: how much of each
    device it uses; `alternatives_milli`: when it is told to be one of its job's alternatives.
    `out_of_memory`: it dies of that, which only its container's limit can do. `saves_s`: how long
    it saves what it has done, when it is asked to end; 0 = it saves nothing."""

    run_s: float = 1.0
    exit_code: int = 0
    signal: int = 0
    out_bytes: int = 0
    err_bytes: int = 0
    stubborn: bool = False
    fails_to_start: bool = False
    gpu_milli: int = 1000
    alternatives_milli: tuple[int, ...] = ()
    out_of_memory: bool = False
    saves_s: float = 0.0

    def command(self) -> tuple[str, ...]:
        if self.fails_to_start:
            return ("no-such-program",)
        return (PROGRAM, msgspec.json.encode(self).decode())


def script_of(command: tuple[str, ...] | list[str]) -> Script | None:
    """The script of a command; None: there is no such program."""
    if len(command) != 2 or command[0] != PROGRAM:
        return None
    return msgspec.json.decode(command[1], type=Script)


RUN_S_MAX = 300.0


def draw_script(rng: random.Random, gpu_milli: int, *, pace: int) -> Script:
    """`pace`: how much longer than usual work takes; with a large one jobs have to wait."""
    kind = rng.random()
    run_s = pace * (rng.expovariate(1 / 20) if kind < 0.9 else rng.uniform(60, 240))
    return Script(
        run_s=round(min(max(0.01, run_s), RUN_S_MAX), 3),
        exit_code=rng.choice((0, 0, 0, 0, 0, 1, 7, 255)),
        signal=rng.choice((0,) * 15 + (6, 11)),
        out_bytes=rng.choice((0, 0, 17, 400, 5_000, 200_000)),
        err_bytes=rng.choice((0, 0, 0, 80, 3_000)),
        stubborn=rng.random() < 0.15,
        fails_to_start=rng.random() < 0.04,
        gpu_milli=gpu_milli,
    )


def draw_job(rng: random.Random, now_ns: int, *, gpus_max: int, pace: int) -> JobSpec:
    """One job that could run on a host with so many devices, most of the time."""
    shape = rng.random()
    gpus = gpu_milli = 0
    ranks = 1
    if shape < 0.45:
        gpus, gpu_milli = 1, 1000
    elif shape < 0.6:
        gpus, gpu_milli = 1, rng.choice((100, 250, 500, 750))
    elif shape < 0.8:
        gpus = rng.choice([n for n in (2, 4, 8) if n <= gpus_max] or [1])
        gpu_milli = 1000
    elif shape < 0.93:
        gpus, gpu_milli, ranks = rng.choice((1, 1, 2)), 1000, rng.choice((2, 2, 3, 4, 6))
    else:
        gpu_milli = 1000
    return JobSpec(
        job_id=ulid(now_ns // 1_000_000, rng.getrandbits(80)),
        command=draw_script(rng, gpu_milli if gpus == 1 else 1000, pace=pace).command(),
        name=f"job-{rng.randrange(1000)}",
        ranks=ranks,
        gpus=gpus,
        gpu_milli=gpu_milli if gpus == 1 else 1000,
        cpu_milli=rng.choice((None, None, 500, 4000)),
        priority=rng.choice((5, 5, 5, 1, 9)),
        time_limit_s=rng.choice((None, None, None, 15, 60)),
        retries=rng.choice((0, 0, 1, 2)),
        grace_s=rng.choice((0, 2, 10)),
        disconnect_s=rng.choice((None, None, 30, 90)),
        labels={"team": "a"} if rng.random() < 0.2 else {},
    )
