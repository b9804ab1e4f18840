"""Does every amount in the ledger follow from what really ran, once, and does all of it sum?

Adds up by itself what stands in the rows: postings, documents, rated use against ledger lines,
rollups against rated use, orders against what was done. It does not know how any of it is derived.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tests.checkers.books import Books, Row
from tests.checkers.history import History, Violation

GPU_HOUR, CPU_HOUR = "gpu_hour", "cpu_hour"
BESIDE_GPU = "cpu/beside-gpu"
RUNNING = "running"
ROLLUPS = {
    "usage_days": (
        ("period", "day", "tenant", "project", "sku", "price_version", "state"),
        ("quantity", "billed_quantity"),
    ),
    "device_sales": (
        ("period", "day", "node", "device", "tenant", "sku", "price_version"),
        ("billed_quantity",),
    ),
}
"""By what `rated` is summed there, and what."""
SHOWN_MAX = 5


def check_money(history: History) -> list[Violation]:
    """Everything that does not sum, stands there twice or for nothing, or cannot be derived."""
    books = history.books
    if books is None:
        return []
    said = [
        *_postings(books),
        *_documents(books),
        *_rated(history, books),
        *_rollups(books),
        *_orders(history, books),
        *(("not_derivable", f"{table} is otherwise when derived anew") for table in books.rebuilt),
    ]
    at_ns = history.ending.faults_stopped_ns if history.ending is not None else 0
    return [Violation(code=code, sentence=sentence, at_ns=at_ns) for code, sentence in said]


Said = tuple[str, str]
"""Code and sentence."""


def _postings(books: Books) -> list[Said]:
    sums = _sums(books.of("postings"), ("entry", "currency"), "amount_micro")
    return [
        ("not_balanced", f"the postings of entry {entry} sum to {amount} {currency}")
        for (entry, currency), amount in sums.items()
        if amount
    ]


def _documents(books: Books) -> list[Said]:
    """Lines sum to their document, and what was posted for it is what it says."""
    found = []
    lines = _sums(books.of("invoice_lines"), ("invoice_id",), "amount_micro")
    owed: Counter[int] = Counter()
    for posting in books.of("postings"):
        if posting["invoice_id"] and posting["account"].startswith("receivable/"):
            owed[posting["invoice_id"]] += posting["amount_micro"]
    numbers: Counter[str] = Counter()
    for invoice in books.of("invoices"):
        number, total = invoice["number"], invoice["total_micro"]
        numbers[number] += 1
        if lines.get((invoice["invoice_id"],), 0) != total:
            found.append(("lines_do_not_sum", f"the lines of {number} do not sum to {total}"))
        if owed[invoice["invoice_id"]] != total - invoice["credit_micro"]:
            found.append(("posted_otherwise", f"what is owed for {number} is not what it says"))
    twice = [number for number, count in numbers.items() if count > 1]
    found += [("document_twice", f"there are several documents {number}") for number in twice]
    return found


def _rated(history: History, books: Books) -> list[Said]:
    """What is billed as running is what the lines say, for each lease and device."""
    billed: Counter[tuple[int, str, int, str]] = Counter()
    for row in books.of("rated"):
        own = row["unit"] == (GPU_HOUR if row["device"] else CPU_HOUR) and row["sku"] != BESIDE_GPU
        if own and row["state"] == RUNNING:
            key = (row["lease_seq"], row["job_id"], row["rank"], row["device"])
            billed[key] += row["quantity"]
    really: Counter[tuple[int, str, int, str]] = Counter()
    for line in history.ledger:
        key = (*line.lease_key, line.device)
        really[key] += (line.t1_ms - line.t0_ms) * line.milli
    return [
        ("rated_otherwise", f"lease {key} has {really[key]} in its lines, {billed[key]} are rated")
        for key in sorted({*billed, *really})
        if billed[key] != really[key]
    ][:SHOWN_MAX]


def _rollups(books: Books) -> list[Said]:
    found = []
    for table, (key, amounts) in ROLLUPS.items():
        for amount in amounts:
            summed = _sums(books.of("rated"), key, amount)
            stands = _sums(books.of(table), key, amount)
            wrong = [name for name in {**summed, **stands} if _differ(summed, stands, name)]
            found += [
                ("rollup_differs", f"{amount} of {name} in {table} is {stands.get(name, 0)}, "
                 f"rated are {summed.get(name, 0)}")
                for name in wrong[:SHOWN_MAX]
            ]  # fmt: skip
    return found


def _orders(history: History, books: Books) -> list[Said]:
    """What was said to be done is done, and what was refused is not."""
    done = Counter(row["key"] for row in books.of("commands_done"))
    told: dict[str, set[str]] = {}
    for order in history.money_orders:
        told.setdefault(order.key, set()).add(order.told)
    found = []
    for key, answers in told.items():
        if "done" in answers and not done[key]:
            found.append(("order_lost", f"what was ordered under {key} is not done"))
        if "done" in answers and answers - {"done", ""}:
            found.append(("order_answered_twice", f"{key} was told {sorted(answers)}"))
        if not answers & {"done", ""} and done[key]:
            found.append(("refused_and_done", f"what was refused under {key} is done"))
    unknown = sorted(done.keys() - told.keys())
    found += [("order_of_nobody", f"nobody ordered anything under {key}") for key in unknown]
    return found


Sums = dict[tuple[object, ...], int]


def _sums(rows: Iterable[Row], key: tuple[str, ...], amount: str) -> Sums:
    sums: Sums = {}
    for row in rows:
        name = tuple(row[column] for column in key)
        sums[name] = sums.get(name, 0) + row[amount]
    return sums


def _differ(one: Sums, other: Sums, name: tuple[object, ...]) -> bool:
    return one.get(name, 0) != other.get(name, 0)
