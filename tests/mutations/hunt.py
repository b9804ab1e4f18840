"""Does the simulation find a planted bug, and how soon?

Runs seed after seed against a copy with the bug until a promise is broken. It does not know the
bugs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from tests.mutations.copies import copy_with, environment_of
from tests.mutations.mutation import Mutation

SEEDS_MAX = 200
HUNT_S_MAX = 3_000
"""A bug may make a world turn for ever: what was found by then counts."""
STDERR_LINES_MAX = 5


class Catch(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one hunt. `seed` None: not found. `checker` and `code` of what was found
    first; `crashed` is found by the world itself."""

    mutation: Mutation
    seed: int | None
    seconds: float
    checker: str = ""
    code: str = ""
    sentence: str = ""


class SimulationFailed(Exception):
    """The simulation itself did not run."""


def hunt(
    mutation: Mutation, *, seeds: str = f"1-{SEEDS_MAX}", options: Sequence[str] = ()
) -> Catch:
    """One mutation, seeds in their order. `options`: of the simulation. Raises Misplaced and
    SimulationFailed."""
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="penstock-mutation-") as directory:
        copy = copy_with(mutation, Path(directory))
        broken = _first_broken(_broken_promises(copy, seeds, options))
    seconds = round(time.monotonic() - begun_s, 1)
    if broken is None:
        return Catch(mutation=mutation, seed=None, seconds=seconds)
    seed, violation = broken
    return Catch(
        mutation=mutation,
        seed=seed,
        seconds=seconds,
        checker=violation["checker"] or "world",
        code=violation["code"],
        sentence=violation["sentence"],
    )


def _first_broken(
    broken: Iterable[tuple[int, dict[str, Any]]],
) -> tuple[int, dict[str, Any]] | None:
    """Rather what a checker says than that something crashed."""
    found = list(broken)
    return next((one for one in found if one[1]["checker"]), found[0] if found else None)


def hunt_all(
    mutations: Iterable[Mutation],
    *,
    seeds: str = f"1-{SEEDS_MAX}",
    options: Sequence[str] = (),
    at_once: int = 1,
) -> Iterator[Catch]:
    """In the order of the table, so many of them side by side."""
    with ThreadPoolExecutor(at_once) as pool:
        yield from pool.map(lambda one: hunt(one, seeds=seeds, options=options), mutations)


def table_of(catches: Iterable[Catch]) -> str:
    """One line a mutation: name, who found it, with which seed, in how many seconds."""
    rows = [("mutation", "found by", "seed", "seconds")]
    for catch in catches:
        found = f"{catch.checker}: {catch.code}" if catch.seed is not None else "NOT FOUND"
        rows.append((catch.mutation.name, found, str(catch.seed or "-"), f"{catch.seconds:.1f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _broken_promises(
    copy: Path, seeds: str, options: Sequence[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    command = (
        sys.executable, "-m", "tests.simulation",
        "--seeds", seeds, "--workers", "1", "--json", "--stop-at-first", *options,
    )  # fmt: skip
    with subprocess.Popen(
        command,
        cwd=copy,
        env=environment_of(copy),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=HUNT_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            output, errors = process.communicate()
    results = [msgspec.json.decode(line) for line in output.splitlines() if line.endswith("}")]
    if not results:
        tail = "\n".join(errors.splitlines()[-STDERR_LINES_MAX:])
        raise SimulationFailed(f"exit code {process.returncode}: {tail}")
    for result in results:
        for violation in result.get("violations", ()):
            yield result["seed"], violation
