"""Which planted bugs does the simulation find?

`python -m tests.mutations` hunts all of them and prints the table; with words, those whose names
hold one of them. Its exit code is 1 when one is not found.
"""

from __future__ import annotations

import argparse
import os

from tests.mutations.hunt import SEEDS_MAX, hunt_all, table_of
from tests.mutations.table import MUTATIONS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--seeds", default=f"1-{SEEDS_MAX}")
    parser.add_argument("--at-once", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    chosen = [
        mutation
        for mutation in MUTATIONS
        if not options.words or any(word in mutation.name for word in options.words)
    ]
    catches = []
    for catch in hunt_all(chosen, seeds=options.seeds, at_once=options.at_once):
        catches.append(catch)
        print(table_of([catch]).splitlines()[-1], flush=True)
    print(f"\n{table_of(catches)}")
    return 1 if any(catch.seed is None for catch in catches) else 0


if __name__ == "__main__":
    raise SystemExit(main())
