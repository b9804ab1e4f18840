"""Why is a job where it is, and what would it take for it to be elsewhere?

The answer to `query.scheduler.explain`. It does not know how it is found out.
"""

from __future__ import annotations

import msgspec

DECISION = "decision"
NOW = "now"


class PlaceConsidered(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A place for one rank. `devices`: UUIDs, in the node's order. The higher `score` wins; of the
    policy `penstock` it is in millionths of a GPU and the sum of `parts`, which other policies do
    not have: see docs/placement.md. `chosen`: the job, or its first rank, was put there, or would
    be."""

    node: str
    score: int
    devices: tuple[str, ...] = ()
    parts: dict[str, int] = {}
    chosen: bool = False


class Obstacles(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why one rank does not fit, node by node: each of `nodes` counts once, for the first that is
    true of it. `needed`: what is asked for, in words.

    `closed`: takes no work · `left_out`: refused the job, lacks a label, or holds a job it keeps
    apart from · `devices`: too few of the models and memory asked for · `busy`: too few of these
    are free · `cpu`, `memory`, `orders`: too little left · `able`: nothing is in the way.

    On the `nodes_open`, which are neither closed nor left out: devices that the rank may use, those
    free enough, the most of these on one node, and CPU. `ranks_fit`: of several ranks so many would
    fit, together where that is demanded.
    """

    needed: str
    nodes: int
    closed: int = 0
    left_out: int = 0
    devices: int = 0
    busy: int = 0
    cpu: int = 0
    memory: int = 0
    orders: int = 0
    able: int = 0
    nodes_open: int = 0
    devices_usable: int = 0
    devices_free: int = 0
    devices_free_most: int = 0
    cpu_milli_free: int = 0
    ranks_fit: int | None = None
    nearest: Shortfall | None = None


class Shortfall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What would do: so much more on the node that lacks least. `nodes`: lack as few devices.
    `milli_free`: for a share, the most that is free on one device of the node."""

    node: str
    nodes: int
    devices: int = 0
    cpu_milli: int = 0
    memory_mib: int = 0
    orders: int = 0
    milli_free: int | None = None


class KeptPlace(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept for a job that waits, as of `at_ms`. `cause`: `backfill`, or `preemption`."""

    job_id: str
    tenant: str
    cause: str
    at_ms: int
    nodes: tuple[str, ...] = ()


class StartSaid(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When an attempt was expected to be placed, as was said at `said_ms`, and when it was;
    `start_ms` None = nobody could say."""

    said_ms: int
    start_ms: int | None = None
    placed_ms: int | None = None


class Explanation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a job is where it is. `code` is stable: `waiting_for_devices`, `waiting_behind`,
    `waiting_for_budget`, `waiting_for_quota`, `waiting_for_place` (which is kept for it),
    `room_is_kept` (for others), `resting`, `no_nodes`, `no_schedulable_node`, `running`,
    `preparing`, `stopping`, `finished`. `sentence` is for a person.

    `alternative`: of a job that has its places, which of its choices they are; 0 = its own.
    `considered`: nodes that could take one rank, the best of which are `places`, as of `as_of`:
    the `decision` itself, or `now`, of a decision that is not remembered with the room that the
    job holds given back. `obstacles`: of a waiting job, for what it asks first and then for each
    of its alternatives.

    Of a waiting job: `quota` = which one's maximum holds it back; `behind` = who is next before it
    in its pool, at most a few; `place` = what is kept for it; `in_the_way` and `reservations`: what
    is kept and set aside for others where it would fit. `expected_start_ms`: as things are now,
    never earlier than is possible; None = nobody can say. `said`: what was said of this attempt's
    start.
    """

    job_id: str
    state: str
    code: str
    sentence: str
    needed: str = ""
    free: str = ""
    position: int | None = None
    alternative: int = 0
    policy: str = ""
    as_of: str = ""
    considered: int | None = None
    places: tuple[PlaceConsidered, ...] = ()
    obstacles: tuple[Obstacles, ...] = ()
    pool: str = ""
    quota: str = ""
    behind: tuple[str, ...] = ()
    place: KeptPlace | None = None
    in_the_way: tuple[KeptPlace, ...] = ()
    reservations: tuple[str, ...] = ()
    expected_start_ms: int | None = None
    said: StartSaid | None = None
