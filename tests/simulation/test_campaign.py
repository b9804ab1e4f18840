"""Which worlds are run again, and which are not run to their end?

A failed one is run again beside the others, whose results are not mixed up with its own; one that
crashes again and again has failed.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = """
from tests.simulation.campaign import Campaign
from tests.simulation.world import Size

campaign = Campaign(Size(hosts=2, jobs=4), workers=2)
results = campaign.run([1, 2, 3])
first = next(results)
again = campaign.run_one(first.seed, None)
print(again.seed == first.seed, again.digest == first.digest)
print(sorted([first.seed, *(result.seed for result in results)]))
campaign.close()
"""


def test_a_seed_is_run_again_beside_others_that_keep_their_results() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["True True", "[1, 2, 3]"]


CRASHING = """
from tests.simulation.campaign import Campaign
from tests.simulation.host_devices import FaultyDriver
from tests.simulation.world import Size


def crash(driver):
    raise ValueError("no devices today")


FaultyDriver.discover = crash
campaign = Campaign(Size(hosts=2, jobs=4), workers=1)
(result,) = campaign.run([1])
print(*sorted({violation.code for violation in result.violations}), len(result.violations))
print(result.virtual_s < 60)
campaign.close()
"""


def test_a_world_whose_processes_crash_again_and_again_ends_as_failed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRASHING], check=True, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["crashed 10", "True"]
