"""How does profit and loss look?

One picture: what each key brought against what it cost and why, and what idle time cost by reason.
It needs matplotlib, which only who plots has installed. It does not know how the figures came
about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from penstock_client.commands.pnl import REASONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from penstock_contracts.profits import ProfitLine, ProfitView

INCHES = (13.0, 6.5)
DOTS_PER_INCH = 110
KEYS_SHOWN = 16
KEY_LETTERS_MAX = 26
MICRO = 1_000_000
PARTS = (
    ("energy", "energy_micro", "#e9a23b"),
    ("depreciation", "depreciation_micro", "#7d8ca3"),
    ("rent", "rent_micro", "#a5b1c2"),
    ("hosting", "hosting_micro", "#c9d1db"),
    ("payout", "payout_micro", "#b07aa1"),
)
REVENUE, PROFIT, LOSS, IDLE = "#3b8f5a", "#1f6f43", "#c0392b", "#c0625a"


def draw(view: ProfitView, file: str) -> None:
    """Writes the picture. Raises OSError, and ValueError for an ending that is no picture's."""
    figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    currency = view.totals[0].currency if view.totals else ""
    total = [line for line in view.totals if line.currency == currency]
    figure.suptitle(f"Profit and loss, {view.month}" + "".join(map(_result, total)))
    _draw_lines(left, [line for line in view.lines if line.currency == currency], view, currency)
    _draw_idle(right, view, currency)
    figure.savefig(file)


def _result(total: ProfitLine) -> str:
    from penstock_client.amounts import format_cents, format_share

    word = "profit" if total.profit_micro >= 0 else "loss"
    sold = format_share(total.sold_milli_ms, total.capacity_milli_ms)
    amount = format_cents(abs(total.profit_micro))
    return f": {word} {amount} {total.currency}, {sold} of GPU time sold"


def _draw_lines(axes: Axes, lines: list[ProfitLine], view: ProfitView, currency: str) -> None:
    shown = lines[:KEYS_SHOWN]
    places = range(len(shown))
    reached = [0.0] * len(shown)
    for name, field, colour in PARTS:
        widths = [getattr(line, field) / MICRO for line in shown]
        if any(widths):
            axes.barh([at + 0.2 for at in places], widths, 0.36, reached, color=colour, label=name)
            reached = [a + b for a, b in zip(reached, widths, strict=True)]
    revenue = [line.revenue_micro / MICRO for line in shown]
    axes.barh([at - 0.2 for at in places], revenue, 0.36, color=REVENUE, label="revenue")
    for at, line in enumerate(shown):
        profit = line.profit_micro / MICRO
        axes.annotate(
            f"{profit:+,.0f}",
            (max(revenue[at], reached[at]), at),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=PROFIT if profit >= 0 else LOSS,
            fontsize=8,
        )
    axes.set_yticks(list(places), [_short(line.key) for line in shown], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(f"{currency} in the month; the number is the profit")
    axes.set_title(f"by {view.by}, worst first")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=8, ncols=6, loc="upper center", bbox_to_anchor=(0.5, -0.09))


def _draw_idle(axes: Axes, view: ProfitView, currency: str) -> None:
    own = [one for one in view.idle if one.currency in (currency, "")]
    own.sort(key=lambda one: -one.cost_micro)
    costs = [one.cost_micro / MICRO for one in own]
    axes.barh(range(len(own)), costs, 0.6, color=IDLE)
    for at, one in enumerate(own):
        hours = f"{one.milli_ms / 3_600_000_000:,.0f} GPU h"
        axes.annotate(
            hours, (costs[at], at), xytext=(4, 0), textcoords="offset points", va="center",
            fontsize=8,
        )  # fmt: skip
    axes.set_yticks(
        range(len(own)), [REASONS.get(one.reason, one.reason) for one in own], fontsize=8
    )
    axes.invert_yaxis()
    axes.margins(x=0.28)
    axes.set_xlabel(f"what time that was not sold cost, {currency}")
    axes.set_title("why devices were idle")
    axes.grid(axis="x", alpha=0.3)


def _short(key: str) -> str:
    return key if len(key) <= KEY_LETTERS_MAX else key[: KEY_LETTERS_MAX - 1] + "…"
