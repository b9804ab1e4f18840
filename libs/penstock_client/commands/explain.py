"""Why is a job where it is, and what would it take?

The command explain. It does not know how the scheduler finds out.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from penstock_client.commands.access import Access, mesh_options

if TYPE_CHECKING:
    from penstock_contracts.explanations import Explanation, KeptPlace, Obstacles, PlaceConsidered

SCORE_UNIT = 1_000_000
"""Scores of the default policy are in millionths of a GPU."""


@click.command()
@click.argument("job_id", metavar="ID")
@mesh_options
def explain(access: Access, job_id: str) -> int:
    """Say why a job is where it is, which places were considered, or what it waits for."""
    from penstock_client.commands.tables import print_fields, print_json, print_table

    why = access.run(lambda client: client.explain(job_id))
    if access.as_json:
        print_json(why)
        return 0
    print_fields(
        [
            ("job", why.job_id),
            ("state", why.state),
            ("why", why.sentence),
            ("code", why.code),
            ("needed", why.needed),
            ("choice", f"alternative {why.alternative}" if why.alternative else ""),
            ("free", why.free),
            ("pool", why.pool),
            ("quota", why.quota),
            ("position", "" if why.position is None else str(why.position)),
            ("behind", " ".join(why.behind)),
            ("kept for it", "" if why.place is None else _kept(why.place)),
            *(("kept for others", _kept(place)) for place in why.in_the_way),
            *(("set aside", name) for name in why.reservations),
            ("expected", _expected(why)),
            ("was expected", _said(why)),
            ("considered", _considered(why)),
        ]
    )
    if why.places:
        click.echo()
        print_table(*_places(why.places), "")
    if why.obstacles:
        click.echo()
        print_table(*_obstacles(why.obstacles), "")
    return 0


def _kept(place: KeptPlace) -> str:
    """Where, from when on and why."""
    from penstock_client.durations import format_instant

    nodes = ", ".join(place.nodes)
    why = "for whom others yield" if place.cause == "preemption" else "who is first"
    return f"{nodes} for {place.job_id} of {place.tenant}, {why}, by {format_instant(place.at_ms)}"


def _expected(why: Explanation) -> str:
    from penstock_client.expected_starts import what_is_expected

    if why.expected_start_ms is None:
        return ""
    return what_is_expected(why.expected_start_ms, time.time_ns() // 1_000_000)


def _said(why: Explanation) -> str:
    from penstock_client.expected_starts import what_was_said

    if why.said is None:
        return ""
    return what_was_said(why.said.start_ms, why.said.said_ms, why.said.placed_ms)


def _considered(why: Explanation) -> str:
    """How many nodes, by which policy, and how things stood."""
    if why.considered is None:
        return ""
    when = {
        "decision": "as it was decided",
        "now": "as things are now"
        if why.state == "queued"
        else "as things are now, without what the job holds: the decision is not remembered",
    }
    most = f", the best {len(why.places)} of them below" if len(why.places) > 1 else ""
    return f"{why.considered} node(s) by {why.policy}, {when.get(why.as_of, why.as_of)}{most}"


def _places(places: tuple[PlaceConsidered, ...]) -> tuple[list[str], list[list[str]]]:
    """A place a row, its score and the parts of it in GPUs."""
    parts = list(dict.fromkeys(part for place in places for part in place.parts))
    rows = [
        [
            "*" if place.chosen else "",
            place.node,
            _devices(place.devices),
            _gpus(place.score) if place.parts else str(place.score),
            *(_gpus(place.parts[part]) if part in place.parts else "" for part in parts),
        ]
        for place in places
    ]
    return ["", "NODE", "DEVICES", "SCORE", *(part.upper() for part in parts)], rows


def _devices(uuids: tuple[str, ...]) -> str:
    """One by its UUID; of several their number, the rest is in the JSON."""
    return uuids[0] if len(uuids) == 1 else f"{len(uuids)} GPUs" if uuids else ""


def _gpus(score: int) -> str:
    return f"{score / SCORE_UNIT:.4f}" if score else "0"


def _obstacles(options: tuple[Obstacles, ...]) -> tuple[list[str], list[list[str]]]:
    """A choice of the job a row: numbers of nodes by what is in the way first."""
    heads = {
        "closed": "CLOSED",
        "left_out": "LEFT OUT",
        "devices": "OTHER DEVICES",
        "busy": "BUSY",
        "cpu": "NO CPU",
        "memory": "NO MEMORY",
        "orders": "TOO MANY LEASES",
        "able": "ABLE",
    }
    used = [name for name in heads if any(getattr(one, name) for one in options)]
    rows = [
        [one.needed, str(one.nodes), *(str(getattr(one, name)) for name in used)] for one in options
    ]
    return ["NEEDED", "NODES", *(heads[name] for name in used)], rows
