"""How is a broken promise told so that somebody can find its cause?

Looks for the shortest prefix of the faults that still breaks it, then prints the faults and the
story of the job or device concerned. It does not judge histories.
"""

from __future__ import annotations

from tests.checkers.story import story_of
from tests.simulation.campaign import Campaign
from tests.simulation.run import Result, run_seed

PROBES_MAX = 8


def explain(campaign: Campaign, failed: Result, *, shrink: bool) -> str:
    """Several lines. Runs the seed again, in this process for its history."""
    faults = _shortest(campaign, failed) if shrink else failed.faults
    result, history = run_seed(
        failed.seed, campaign.template, size=campaign.size, faults_max=faults
    )
    lines = [
        f"seed {failed.seed}: the first {faults} faults break it; to repeat it:",
        f"    make simulate SEED={failed.seed}",
    ]
    for violation in result.violations or failed.violations:
        lines.append(f"  {violation.code}: {violation.sentence}")
    concerned = (result.violations or failed.violations)[0]
    lines.append("  the story:")
    lines += [f"    {line}" for line in story_of(history, concerned)]
    return "\n".join(lines)


def _shortest(campaign: Campaign, failed: Result) -> int:
    """How many faults it takes, by halving: the least found, not the least there is."""
    good, bad = -1, failed.faults
    for _ in range(PROBES_MAX):
        if bad - good <= 1:
            break
        middle = (good + bad) // 2
        if campaign.run_one(failed.seed, middle).ok:
            good = middle
        else:
            bad = middle
    return bad
