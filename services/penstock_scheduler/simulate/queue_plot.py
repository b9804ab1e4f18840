"""How does it look who waits, and for how long?

One picture, one line a policy: who waits over time, and how many have waited longer than a time. It
needs matplotlib, which only who plots has installed. It does not know how the points came about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from penstock_scheduler.simulate.plot import DOTS_PER_INCH, INCHES
from penstock_scheduler.simulate.queue_world import Story

DAY_MS = 86_400_000
POINTS = 400


def draw(told: Mapping[str, Sequence[Story]], path: Path) -> None:
    """Writes the picture. Raises OSError when the file cannot be written."""
    figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for policy, stories in told.items():
        end_ms = max(story.makespan_ms for story in stories)
        instants = [end_ms * point // POINTS for point in range(POINTS + 1)]
        waiting = [sum(_waiting(story, at_ms) for story in stories) for at_ms in instants]
        left.plot([at_ms / DAY_MS for at_ms in instants], waiting, label=policy)
        waits = sorted(one.queued_ms / 1000 for story in stories for one in story.done)
        shares = [100 * (1 - number / len(waits)) for number in range(len(waits))]
        right.plot([max(1.0, wait) for wait in waits], shares, label=policy)
    left.set_xlabel("days")
    left.set_ylabel("jobs that wait")
    right.set_xscale("log")
    right.set_xlabel("seconds in line")
    right.set_ylabel("jobs that wait longer, %")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, format="png")


def _waiting(story: Story, at_ms: int) -> int:
    """How many waited at that time."""
    low, high = 0, len(story.moments)
    while low < high:
        middle = (low + high) // 2
        if story.moments[middle].at_ms <= at_ms:
            low = middle + 1
        else:
            high = middle
    return story.moments[low - 1].waiting if low else 0
