"""What does the scheduler's journal say about the queue?

The policy that holds, what is kept free for whom, and what waits for an instant. It does not know
how that is decided.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.bounds import Instant, Number
from penstock_contracts.queue_policy import QueuePolicy

PREEMPTION, BACKFILL = "preemption", "backfill"


class PolicySet(
    msgspec.Struct, frozen=True, tag="policy_set", tag_field="fact", omit_defaults=True
):
    """From this entry on this holds. `key`: the command that asked for it; repeated it changes
    nothing."""

    version: Number
    policy: QueuePolicy
    key: str
    set_ms: Instant


class KeptRank(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where one rank is to go: by UUID each of its devices."""

    rank: Number
    node: str
    devices: tuple[str, ...] = ()


class PlaceKept(
    msgspec.Struct, frozen=True, tag="place_kept", tag_field="fact", omit_defaults=True
):
    """A waiting job is to have this place: nothing that may still be there at `at_ms` is put into
    it. `cause`: `preemption` (the attempts `victims` are asked to end in the same entry), or
    `backfill` (the jobs `awaits` are expected to end by themselves). `sure_ms`: by then it is free
    by what these state themselves; None = nobody can say. A job has one place at most; a new one
    stands instead of it."""

    job_id: str
    ranks: tuple[KeptRank, ...]
    at_ms: Instant
    cause: str
    alternative: Number = 0
    victims: tuple[str, ...] = ()
    awaits: tuple[str, ...] = ()
    sure_ms: Instant | None = None


class PlaceGivenUp(
    msgspec.Struct, frozen=True, tag="place_given_up", tag_field="fact", omit_defaults=True
):
    """Nothing is kept for the job any more, though it still waits."""

    job_id: str
    reason: str = ""


class HeadHeld(msgspec.Struct, frozen=True, tag="head_held", tag_field="fact"):
    """The first job of a pool that holds up others for a while does so from this entry on."""

    pool: str
    job_id: str


class HeadPassed(msgspec.Struct, frozen=True, tag="head_passed", tag_field="fact"):
    """It has held them up for long enough."""

    pool: str
    job_id: str


class JobsWoken(msgspec.Struct, frozen=True, tag="jobs_woken", tag_field="fact"):
    """Jobs that rested after they had failed to start are in line again."""

    job_ids: tuple[str, ...]


class StartExpected(msgspec.Struct, frozen=True, omit_defaults=True):
    """When an attempt that waits is expected to be placed; None = nobody could say."""

    job_id: str
    attempt: Number
    start_ms: Instant | None = None


class StartsExpected(msgspec.Struct, frozen=True, tag="starts_expected", tag_field="fact"):
    """What is expected of attempts that have waited for a while; of each it is said once, so that
    it can be told afterwards how good that was. It decides nothing."""

    starts: tuple[StartExpected, ...]
