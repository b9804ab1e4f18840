"""Is rating ever different from exact rational arithmetic, and what does it cost?

Random leases under random price books, rated, and reckoned a second time in fractions by the
account that the tests keep. Every SKU and price version of every lease is compared. For the record:
`python benchmarks/bench_rating.py`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from random import Random

from measure.report import emit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from metering.exact import random_case, random_versions
from metering.test_rating_exactness import BEGIN_MS, differs, rated
from penstock_metering.core.book import PriceBook

LEASES_A_BOOK = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    random = Random(asked.seed)
    differences = lines = done = 0
    rating_s = 0.0
    while done < asked.cases:
        versions = random_versions(random, BEGIN_MS)
        book = PriceBook(versions)
        for _ in range(min(LEASES_A_BOOK, asked.cases - done)):
            case = random_case(random, versions, BEGIN_MS)
            begin = time.perf_counter()
            parts = rated(case, book)
            rating_s += time.perf_counter() - begin
            lines += len(case.lines)
            differences += differs(case, parts, book)
            done += 1
    emit(
        bench="rating",
        cases=done,
        segments=lines,
        differences=differences,
        us_a_lease=round(rating_s / done * 1e6, 1),
    )
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
