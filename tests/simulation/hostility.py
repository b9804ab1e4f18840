"""What does somebody send who means harm, or whose program is broken?

Rubbish, damaged copies of true messages, old messages again, lies of a node about another's work:
everything that a tenant's or a node's credential lets through. It does not know what should
follow from it (nothing).
"""

from __future__ import annotations

import random
from typing import Any

import msgspec

from penstock_bus.memory_stream import MemoryStream
from penstock_bus.port import Message
from penstock_contracts.errors import MALFORMED
from penstock_contracts.ids import ROOT
from penstock_contracts.jobs import JobSpec, SubmitJobs
from penstock_contracts.leases import Exited, NodeReport, Released
from tests.checkers.history import Submission
from tests.checkers.leases import fold_journal
from tests.simulation.world import World

STRANGER = "stranger"
MALLORY = "mallory"
"""A tenant whose credential is in order."""
MESSAGES_MAX = 12
_RUBBISH = (b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"jobs":[{}]}', b'{"node":7}', b"[" * 5000)


def send_rubbish(world: World, rng: random.Random) -> str:
    """Sends some; returns a sentence."""
    kind = rng.choice((_rubbish, _damaged, _again, _forged, _lie))
    for _ in range(rng.randint(1, MESSAGES_MAX)):
        kind(world, rng)
    return f"hostile messages: {kind.__name__.strip('_')}"


def _rubbish(world: World, rng: random.Random) -> None:
    node = rng.choice([host.name for host in world.hosts] + [STRANGER])
    subject = rng.choice(
        (
            f"{ROOT}.request.job.{MALLORY}.submit",
            f"{ROOT}.request.job.{MALLORY}.cancel",
            f"{ROOT}.request.job.{MALLORY}.dance",
            f"{ROOT}.node.{node}.report",
            f"{ROOT}.node.{node}.description",
            f"{ROOT}.node.{node}.heartbeat",
            f"{ROOT}.usage.{node}",
        )
    )
    send(world, subject, rng.choice(_RUBBISH))


def _damaged(world: World, rng: random.Random) -> None:
    """A true message with a few bytes changed, from somebody who had no right to the original: what
    a node says of itself is believed."""
    found = _some_message(world, rng)
    if found is None:
        return
    data = bytearray(found[1])
    for _ in range(rng.randint(1, 4)):
        if data:
            data[rng.randrange(len(data))] = rng.randrange(256)
    if rng.random() < 0.3:
        del data[rng.randrange(len(data) + 1) :]
    send(world, _from_another(world, rng, found[0]), bytes(data))


def _again(world: World, rng: random.Random) -> None:
    """A true message, late and once more."""
    found = _some_message(world, rng)
    if found is not None:
        send(world, *found)


def _forged(world: World, rng: random.Random) -> None:
    """A true message of one node or tenant, as if another (or a stranger) had sent it."""
    found = _some_message(world, rng)
    if found is not None:
        send(world, _from_another(world, rng, found[0]), found[1])


def _lie(world: World, rng: random.Random) -> None:
    """The end of work that runs, told by a node that has nothing to do with it, or by its own under
    a lease of before."""
    live = [le for le in fold_journal(world.history).leases.values() if le.released_ns is None]
    if not live:
        return
    lease = rng.choice(live)
    others = [host.name for host in world.hosts if host.name != lease.node]
    node, seq = rng.choice(((rng.choice(others), lease.lease_seq), (lease.node, 1)))
    step: dict[str, Any] = {
        "job_id": lease.job_id,
        "attempt": lease.attempt,
        "rank": lease.rank,
        "lease_seq": seq,
        "at_ms": world.kernel.now_ns // 1_000_000,
    }
    end = Exited(**step, reason="exited", exit_code=0, started_ms=step["at_ms"])
    report = NodeReport(node=node, boot_id="", items=(end, Released(**step)))
    send(world, f"{ROOT}.node.{node}.report", msgspec.json.encode(report))


def _from_another(world: World, rng: random.Random, subject: str) -> str:
    tokens = subject.split(".")
    if tokens[2] == "request":
        tokens[4] = MALLORY
        return ".".join(tokens)
    at = 3 if tokens[2] == "node" else len(tokens) - 1
    others = [host.name for host in world.hosts if host.name != tokens[at]]
    tokens[at] = rng.choice([*others, STRANGER])
    return ".".join(tokens)


def _some_message(world: World, rng: random.Random) -> tuple[str, bytes] | None:
    streams = world.broker.streams
    stream: MemoryStream = streams[rng.choice(("REPORTS", "USAGE", "REQUESTS", "DESCRIPTIONS"))]
    state = stream.state()
    if state.last_seq < state.first_seq or state.last_seq == 0:
        return None
    message = stream.read(rng.randint(state.first_seq, state.last_seq))
    return None if message is None else (message.subject, message.payload)


def send(world: World, subject: str, payload: bytes) -> None:
    """A hostile tenant may ask for jobs as any other: what is well-formed after all, it has asked
    for."""
    if not world.broker.up:
        return
    *_, tenant, verb = subject.split(".")
    if verb == "submit":
        world.history.submissions += [
            Submission(
                at_ns=world.kernel.now_ns,
                tenant=tenant,
                job_id=spec.job_id,
                request_seq=None,
                spec=spec,
            )
            for spec in _jobs_in(payload)
        ]
    world.broker.route(Message(subject, payload, "", None))


def _jobs_in(payload: bytes) -> list[JobSpec]:
    """Those of a submit that can be read, whatever is wrong with others in it."""
    try:
        jobs: tuple[msgspec.Raw | bytes, ...] = msgspec.json.decode(payload, type=SubmitJobs).jobs
    except MALFORMED:
        jobs = (payload,)
    found = []
    for job in jobs:
        try:
            found.append(msgspec.json.decode(job, type=JobSpec))
        except MALFORMED:
            continue
    return found
