"""What do the scheduler and an agent say to each other?

Desired state one way, reports the other. Every order and report names the attempt by `lease_seq`
(the JOBS sequence of the grant): an older one changes nothing. It does not know how either side
decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta

from penstock_contracts.bounds import Address, Capacity, Instant, Name, Number, Port, Said, Small
from penstock_contracts.ids import lease_key
from penstock_contracts.nodes import NodeDescription
from penstock_contracts.work import (
    FILES_MAX,
    Container,
    Inputs,
    Outputs,
    Pids,
    Rlimits,
    Secrets,
    StoredOutput,
)

OutputName = Annotated[str, Meta(pattern=r"^(stdout|stderr)$(?!\n)")]

PREPARE = "prepare"
RUN = "run"
STOP = "stop"
PREEMPTED, DRAINED, RESERVED = "preempted", "drained", "reserved"
YIELDS = frozenset({PREEMPTED, DRAINED, RESERVED})
"""Why work is asked to end that is then run again: it may save what it has done."""


class Rendezvous(msgspec.Struct, frozen=True):
    """Where rank 0 listens. The port comes from rank 0's agent, bind-tested."""

    address: Address
    port: Port


class LeaseOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rank of one attempt on one node, and what should be true of it now.

    `phase`: `prepare` (hold, report prepared, wait), `run` (be running), `stop` (end: SIGTERM,
    or `stop_signal`, after `grace_s` SIGKILL; `stop_reason` says why). `granted_ns`: server time of
    the grant. `devices`: UUIDs. `memory_mib` is reserved, `memory_limit_mib` is what the job may
    use: None = no limit. `begun`: it has been told to have started, or is of an attempt that is
    over: who does not know it must not begin it. `paid_ms`: for so much running time, in all,
    somebody has paid; the host ends the work before it is used up, whoever is alive then. It is
    only ever raised, None = no such bound.
    """

    lease_seq: Number
    job_id: Name
    tenant: Name
    attempt: Number
    rank: Number
    phase: Name
    granted_ns: Number
    command: tuple[str, ...]
    ranks: Number = 1
    local_rank: Number = 0
    name: str = ""
    env: dict[str, str] = {}
    devices: tuple[str, ...] = ()
    gpu_milli: Capacity = 1000
    gpu_memory_mib: Capacity | None = None
    cpu_milli: Capacity = 0
    memory_mib: Capacity = 0
    time_limit_s: Number | None = None
    grace_s: Number = 10
    disconnect_s: Number | None = None
    rendezvous: Rendezvous | None = None
    stop_reason: Name = ""
    begun: bool = False
    container: Container | None = None
    user: str = ""
    rlimits: Rlimits = {}
    memory_limit_mib: Capacity | None = None
    pids_max: Pids | None = None
    private_tmp: bool = False
    inputs: Inputs = ()
    outputs: Outputs = ()
    secrets: Secrets = ()
    gpu_enforced: bool = False
    paid_ms: Number | None = None
    stop_signal: Name = ""

    @property
    def key(self) -> str:
        return lease_key(self.lease_seq, self.job_id, self.rank)


class NodeDesired(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a node should hold as of JOBS sequence `as_of`.

    With `full` the leases are all there are; else they are changes over `base` (the `as_of` the
    agent acknowledged last) and `dropped` names keys that are over. An agent in another boot than
    `boot_id` (where one is named) refuses it. `heard_boot_ns`: `sent_boot_ns` of the last heartbeat
    heard from that boot, 0 = none; said where an order has a `disconnect_s`, which counts from it:
    a message may lie unread for any time.
    """

    as_of: Number
    base: Number = 0
    full: bool = False
    leases: tuple[LeaseOrder, ...] = ()
    dropped: tuple[str, ...] = ()
    boot_id: str = ""
    heard_boot_ns: Number = 0


class DesiredAck(msgspec.Struct, frozen=True, omit_defaults=True):
    """`ok` false: `base` is not what the agent holds (`as_of`); send it all."""

    as_of: Number
    ok: bool = True


class LeaseRenewal(msgspec.Struct, frozen=True):
    """Answers a heartbeat: leases with a `disconnect_s` hold that long from `sent_boot_ns`."""

    sent_boot_ns: Number


class LeaseStep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every report about a lease carries. `at_ms`: the instant, on the lease's axis."""

    job_id: Name
    attempt: Number
    rank: Number
    lease_seq: Number
    at_ms: Instant


class Preparing(
    LeaseStep, frozen=True, kw_only=True, omit_defaults=True, tag="preparing", tag_field="kind"
):
    """The agent has the lease in its journal and has begun."""


class Prepared(
    LeaseStep, frozen=True, kw_only=True, omit_defaults=True, tag="prepared", tag_field="kind"
):
    """This rank could start. Rank 0 names where it will listen."""

    rendezvous: Rendezvous | None = None


class Started(
    LeaseStep, frozen=True, kw_only=True, omit_defaults=True, tag="started", tag_field="kind"
):
    """The process runs."""


class Exited(
    LeaseStep, frozen=True, kw_only=True, omit_defaults=True, tag="exited", tag_field="kind"
):
    """The process is gone. Exactly one of `exit_code`, `signal`, or a `reason` that explains
    neither.

    `reason`: `exited`, `signalled`, `time_limit`, `budget` (its `paid_ms` is used up),
    `cancelled`, `stopped` (the node is stopping: requeue), `disconnected`, `spawn_failed`,
    `prepare_failed` (what the job itself names is not there or not as said), `output_failed` (it
    exited with 0, but an output that is required could not be stored), `out_of_memory` (over its
    own limit), `device_failed` (`message` names the device), `lost` (the reaper died: nothing is
    guessed). `log_bytes`: the final offset per stream. `outputs`: what has been stored.
    `segments`: how many usage segments this lease has in all, so that complete and missing look
    different. `started_ms` None: it never ran.
    """

    reason: Name
    exit_code: Small | None = None
    signal: Small | None = None
    started_ms: Instant | None = None
    message: Said = ""
    log_bytes: Annotated[dict[OutputName, Number], Meta(max_length=2)] = {}
    segments: Number = 0
    outputs: Annotated[tuple[StoredOutput, ...], Meta(max_length=FILES_MAX)] = ()


class Released(
    LeaseStep, frozen=True, kw_only=True, omit_defaults=True, tag="released", tag_field="kind"
):
    """The release check has passed: nothing of this lease is on the node or its devices."""


class Declined(
    LeaseStep, frozen=True, kw_only=True, omit_defaults=True, tag="declined", tag_field="kind"
):
    """The agent cannot take this lease (device gone, no port, disk full); it holds nothing."""

    code: Name
    message: Said


class Described(msgspec.Struct, frozen=True, tag="described", tag_field="kind"):
    """The node's description. An agent owes it like a report; it travels as `node_description`."""

    description: NodeDescription


ReportItem = Preparing | Prepared | Started | Exited | Released | Declined | Described


class NodeReport(msgspec.Struct, frozen=True):
    """What happened on a node, in order. Repeats are harmless: each item is idempotent by its
    lease and kind.
    """

    node: Name
    boot_id: Name
    items: tuple[ReportItem, ...]


def lease_digest(keys: Iterable[str]) -> str:
    """A short digest of a set of lease keys, the same on both sides whatever the order."""
    return hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()[:16]
