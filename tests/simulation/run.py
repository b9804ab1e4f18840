"""Does the mesh keep its promises under one seed?

Lets a world and its adversary run for at least a virtual hour, waits until all has drained, and has
every checker read the history. It does not know how the result is shown.
"""

from __future__ import annotations

import hashlib
import random
import time
from pathlib import Path

import msgspec

from tests.checkers.history import Ending, History, Violation
from tests.checkers.verdict import judge
from tests.simulation.adversary import Adversary
from tests.simulation.loop import Spinning
from tests.simulation.world import Size, World

HOUR_S = 3_600.0
DRAIN_S_MAX = 1_800.0
"""After the last fault, everything accepted must have ended by then: twice the longest job."""
LOOK_S = 15.0
AUDIT_S_MAX = 120.0
AUDITS_MAX = 5
VIOLATIONS_SHOWN = 20


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one seed. `digest`: of the whole history; the same on every run."""

    seed: int
    ok: bool
    violations: tuple[Violation, ...]
    jobs: int
    runs: int
    faults: int
    virtual_s: float
    steps: int
    digest: str
    cpu_s: float
    lossy: bool = False


def run_seed(
    seed: int, template: Path, *, size: Size, faults_max: int | None = None
) -> tuple[Result, History]:
    """`faults_max`: only the first so many faults, otherwise the same world."""
    begun_s = time.process_time()
    world = World(seed, size, template)
    rng = random.Random(seed ^ 0x5EED)
    adversary = Adversary(world, rng, until_s=size.submitting_s, faults_max=faults_max)
    world.begin()
    adversary.begin()
    violations = _violations(world, size.submitting_s)
    world.ledger.remove()
    history, loop = world.history, world.kernel.loop
    result = Result(
        seed=seed,
        ok=not violations,
        violations=tuple(violations[:VIOLATIONS_SHOWN]),
        jobs=len({s.job_id for s in history.submissions}),
        runs=len(history.runs),
        faults=adversary.count,
        virtual_s=round(loop.time(), 1),
        steps=loop.steps,
        digest=hashlib.sha256(encode(history)).hexdigest(),
        cpu_s=round(time.process_time() - begun_s, 2),
        lossy=history.lossy_broker,
    )
    return result, history


def _violations(world: World, submitting_s: float) -> list[Violation]:
    """Lets the world live to its end. One that spins or crashes again and again never gets there,
    and is not judged."""
    kernel = world.kernel
    try:
        kernel.loop.run_until(kernel.has_failed, submitting_s + 1.0)
        world.calm()
        faults_stopped_ns = kernel.now_ns
        drained_ns = _drain(world)
        if not kernel.has_failed():
            world.history.ending = _ending(world, faults_stopped_ns, drained_ns)
    except Spinning as spinning:
        found = [Violation(code="spinning", sentence=str(spinning), at_ns=kernel.now_ns)]
    else:
        kept = {} if kernel.has_failed() else judge(world.history)
        found = [violation for of_one in kept.values() for violation in of_one]
    return [*(Violation(code="crashed", sentence=crash) for crash in world.crashes()), *found]


def encode(history: History) -> bytes:
    """The whole history as JSON, the same bytes for the same history."""
    parts = msgspec.structs.asdict(history)
    parts["undecodable"] = sorted(history.undecodable)
    parts["expected_findings"] = sorted(history.expected_findings)
    parts["logs"] = [(key, chunks) for key, chunks in history.logs.items()]
    return msgspec.json.encode(parts)


def _drain(world: World) -> int | None:
    """When nothing was left to do; None when that took too long. Not before the hour is over."""
    loop = world.kernel.loop
    limit_s = loop.time() + DRAIN_S_MAX
    drained_ns = None
    while loop.time() < limit_s and not world.kernel.has_failed():
        loop.run_until(world.kernel.has_failed, loop.time() + LOOK_S)
        if not world.drained():
            drained_ns = None
        elif drained_ns is None:
            drained_ns = world.kernel.now_ns
        elif loop.time() >= HOUR_S:
            return drained_ns
    return None


def _ending(world: World, faults_stopped_ns: int, drained_ns: int | None) -> Ending:
    ending = world.ending(faults_stopped_ns, drained_ns)
    for _ in range(AUDITS_MAX):
        report = world.audit(world.kernel.loop.time() + AUDIT_S_MAX)
        if report is not None:
            ending.scheduler, ending.inventory = report.scheduler, report.inventory
            ending.metering = report.metering
            if report.ok:
                break
    world.history.ledger = world.ledger.lines()
    world.history.books = world.ledger.books(world.kernel.now_ns // 1_000_000)
    return ending
