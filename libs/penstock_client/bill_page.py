"""How does a bill look on paper?

One HTML page that needs nothing else, each bill on sheets of its own when printed. It does not know
where bills come from.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from penstock_client.bill_words import (
    correction_words,
    day_words,
    line_words,
    money_words,
    month_words,
    quantity_words,
    title_words,
    unit_words,
)
from penstock_contracts.bills import Bill, BillLine, Party

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #e9ebee; color: #1d2330; font: 14px/1.45 system-ui, "Segoe UI",
  "Helvetica Neue", Arial, sans-serif; }
.bill { position: relative; max-width: 210mm; min-height: 270mm; margin: 24px auto;
  padding: 18mm 16mm; background: #fff; box-shadow: 0 1px 6px #0003; }
header { display: flex; justify-content: space-between; gap: 24px; }
h1 { margin: 0; font-size: 26px; font-weight: 600; letter-spacing: -.01em; }
h2 { margin: 28px 0 6px; font-size: 14px; }
.issuer { text-align: right; white-space: pre-line; }
.issuer b, .customer b { font-size: 16px; }
.customer { margin: 26px 0; white-space: pre-line; }
.small { color: #5b6475; font-size: 12px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; margin: 0 0 22px; }
dt { color: #5b6475; } dd { margin: 0; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { padding: 6px 8px; border-bottom: 2px solid #1d2330; text-align: left; font-size: 12px; }
td { padding: 6px 8px; border-bottom: 1px solid #dfe3e8; vertical-align: top; }
th:nth-child(2) { width: 36%; }
th.n, td.n { text-align: right; white-space: nowrap; }
tr { break-inside: avoid; }
tfoot td { border-bottom: 0; }
tfoot tr:first-child td { border-top: 2px solid #1d2330; }
.due td { font-size: 17px; font-weight: 600; }
.pad { visibility: hidden; }
.draft::before { content: "DRAFT"; position: absolute; top: 105mm; left: 0; right: 0;
  text-align: center; font-size: 110px; font-weight: 700; letter-spacing: .12em; color: #1d23300d;
  transform: rotate(-24deg); pointer-events: none; }
.projects { width: 60%; }
footer { margin-top: 30px; padding-top: 10px; border-top: 1px solid #dfe3e8; }
@media print { body { background: #fff; } @page { size: A4; margin: 0; }
  .bill { margin: 0; box-shadow: none; break-after: page; } }
"""
DIGITS_MAX = 6


def bills_page(bills: Iterable[Bill], now_ms: int) -> str:
    """All of them, one after the other."""
    found = list(bills)
    title = title_words(found[0]) if len(found) == 1 else "Bills"
    body = "\n".join(_bill(bill, now_ms) for bill in found)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _bill(bill: Bill, now_ms: int) -> str:
    draft = "" if bill.number else " draft"
    return (
        f'<section class="bill{draft}">\n<header>\n<h1>{escape(title_words(bill))}</h1>\n'
        f'<div class="issuer">{_party(bill.issuer)}</div>\n</header>\n'
        f'<div class="customer"><span class="small">Bill to</span>\n{_party(bill.customer)}</div>\n'
        f"<dl>\n{_facts(bill, now_ms)}</dl>\n{_table(bill)}\n{_projects(bill)}{_notes(bill)}"
        f"</section>"
    )


def _party(party: Party) -> str:
    tax = f"Tax id {party.tax_id}" if party.tax_id else ""
    rest = "\n".join(escape(part) for part in (party.address, tax) if part)
    return f"<b>{escape(party.name)}</b>\n{rest}".rstrip()


def _facts(bill: Bill, now_ms: int) -> str:
    last_day = day_words(bill.to_ms - 1)
    facts = [
        ("Date", day_words(bill.issued_ms) if bill.issued_ms else f"as of {day_words(now_ms)}"),
        ("Period", f"{month_words(bill.month)} (1 to {last_day}, UTC)"),
        ("Account", bill.tenant),
        ("Currency", bill.currency),
    ]
    if bill.refers:
        facts.append(("Refers to", bill.refers))
    if bill.reason:
        facts.append(("Reason", bill.reason))
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>\n" for name, text in facts)


def _table(bill: Bill) -> str:
    rows = "".join(_row(line, bill) for line in bill.lines)
    sums = [_sum("Total", bill.total_micro, bill.currency)]
    if bill.credit_micro:
        sums.append(_sum("Paid from prepaid credit", -bill.credit_micro, bill.currency))
    due = bill.total_micro - bill.credit_micro
    words = "Amount due" if due >= 0 else "Credited to you"
    sums.append(_sum(words, abs(due), bill.currency, "due"))
    return (
        '<table>\n<thead><tr><th>#</th><th>What</th><th class="n">Quantity</th>'
        '<th class="n">Of it free</th><th class="n">Unit price</th>'
        f'<th class="n">Amount ({escape(bill.currency)})</th></tr></thead>\n'
        f"<tbody>\n{rows}</tbody>\n<tfoot>\n{''.join(sums)}</tfoot>\n</table>"
    )


def _row(line: BillLine, bill: Bill) -> str:
    what = escape(line_words(line, bill))
    if line.corrects:
        what += f'<br><span class="small">{escape(correction_words(line))}</span>'
    quantity = free = price = ""
    if line.unit:
        unit = escape(unit_words(line.unit))
        quantity = f"{quantity_words(line.billed_quantity, line.unit)} {unit}"
        free = quantity_words(line.free_quantity, line.unit) if line.free_quantity else ""
        price = money_words(line.price_micro)
    return (
        f'<tr><td>{line.number}</td><td>{what}</td><td class="n">{quantity}</td>'
        f'<td class="n">{free}</td><td class="n">{price}</td>{_amount(line.amount_micro)}</tr>\n'
    )


def _sum(words: str, micro: int, currency: str, kind: str = "") -> str:
    shown = f"{escape(words)} ({escape(currency)})" if kind else escape(words)
    return f'<tr class="{kind}"><td></td><td colspan="4">{shown}</td>{_amount(micro)}</tr>\n'


def _amount(micro: int) -> str:
    """Points stand below each other."""
    text = money_words(micro)
    missing = DIGITS_MAX - len(text.partition(".")[2])
    pad = f'<span class="pad">{"0" * missing}</span>' if missing else ""
    return f'<td class="n">{text}{pad}</td>'


def _projects(bill: Bill) -> str:
    if not bill.projects:
        return ""
    rows = "".join(
        f"<tr><td>{escape(share.project or '(none)')}</td>{_amount(share.amount_micro)}</tr>\n"
        for share in bill.projects
    )
    return (
        '<h2>By project</h2>\n<table class="projects">\n<thead><tr><th>Project</th>'
        f'<th class="n">Amount ({escape(bill.currency)})</th></tr></thead>\n'
        f"<tbody>\n{rows}</tbody>\n</table>\n"
    )


def _notes(bill: Bill) -> str:
    notes = [
        "Time is counted in milliseconds. All use of a line is summed, multiplied by its price and "
        "rounded once, to the millionth; the total is rounded to what can be paid. No tax is "
        "included."
    ]
    if any(line.corrects for line in bill.lines):
        notes.append(
            "A correction is what a month that was billed before costs more, or less, by what "
            "became known of it later."
        )
    if not bill.number:
        notes.append("This is a draft: the month is not closed, and the amounts still change.")
    return "<footer class='small'>" + "".join(f"<div>{note}</div>" for note in notes) + "</footer>"
