"""How long may a job hold its place, for sure?

What it states itself, with the time to begin and to end around it. It does not know what is only
expected.
"""

from __future__ import annotations

from penstock_contracts.jobs import JobSpec

START_MARGIN_S, FETCH_MARGIN_S = 10, 300
"""From a grant to the start of the work; with an image or files to fetch first, longer."""
END_MARGIN_S = 2
"""From the end of the work to the proof that its devices are free."""
CLASS_BITS = 4
"""A bound is rounded up to one of eight steps between two powers of two."""


def surely_s(spec: JobSpec) -> int | None:
    """So long after its grant a rank has surely given back its devices, as far as the job says
    itself; None = it states no limit."""
    if spec.time_limit_s is None:
        return None
    fetches = spec.container is not None or bool(spec.inputs) or bool(spec.secrets)
    margin_s = FETCH_MARGIN_S if fetches else START_MARGIN_S
    return margin_s + spec.time_limit_s + spec.grace_s + END_MARGIN_S


def bound_s(spec: JobSpec) -> int:
    """The class of that, for shapes; 0 = without a bound."""
    surely = surely_s(spec)
    if surely is None:
        return 0
    step = 1 << max(0, surely.bit_length() - CLASS_BITS)
    return -(-surely // step) * step
