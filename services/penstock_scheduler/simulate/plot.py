"""How do allocation and fragmentation look against arrived demand?

One picture of the means over seeds, one line a policy. It needs matplotlib, which only who plots
has installed. It does not know how the points came about.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from penstock_scheduler.simulate.placement import Run

INCHES = (10.0, 4.5)
DOTS_PER_INCH = 120


def draw(found: Sequence[Run], path: Path) -> None:
    """Writes the picture. Raises OSError when the file cannot be written."""
    figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for policy in dict.fromkeys(run.policy for run in found):
        own = [run for run in found if run.policy == policy]
        columns = list(zip(*(run.points for run in own), strict=False))
        arrived = [column[0].arrived for column in columns]
        left.plot(arrived, [fmean(p.allocated for p in c) for c in columns], label=policy)
        right.plot(arrived, [fmean(p.fragmented for p in c) for c in columns], label=policy)
    for axes, what in ((left, "allocated"), (right, "free, but of no use to the workload")):
        axes.set_xlabel("GPUs asked for, % of the fleet")
        axes.set_ylabel(f"GPUs {what}, % of the fleet")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, format="png")
