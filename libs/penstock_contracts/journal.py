"""What stands in the JOBS and NODES journals?

The envelope of one transition, and the facts of the JOBS journal, whose only writer is the
scheduler. A fact is in the past tense and is never taken back. It does not know how facts are
decided.
"""

from __future__ import annotations

import msgspec

from penstock_contracts.allowances import BudgetNoted as BudgetNoted
from penstock_contracts.allowances import DemandNoted as DemandNoted
from penstock_contracts.allowances import LeasePaid as LeasePaid
from penstock_contracts.allowances import LeasesPaid as LeasesPaid
from penstock_contracts.allowances import RatesNoted as RatesNoted
from penstock_contracts.bounds import Instant, Number, Small
from penstock_contracts.errors import Refusal
from penstock_contracts.expectations import WorkloadExpected
from penstock_contracts.jobs import JobSpec
from penstock_contracts.leases import Rendezvous
from penstock_contracts.node_images import NodeForgotten as NodeForgotten
from penstock_contracts.node_images import NodeImaged as NodeImaged
from penstock_contracts.queue_facts import HeadHeld as HeadHeld
from penstock_contracts.queue_facts import HeadPassed as HeadPassed
from penstock_contracts.queue_facts import JobsWoken as JobsWoken
from penstock_contracts.queue_facts import PlaceGivenUp as PlaceGivenUp
from penstock_contracts.queue_facts import PlaceKept as PlaceKept
from penstock_contracts.queue_facts import PolicySet as PolicySet
from penstock_contracts.queue_facts import StartExpected as StartExpected
from penstock_contracts.queue_facts import StartsExpected as StartsExpected
from penstock_contracts.work import StoredOutput

ENTRY_BYTES_MAX = 512 * 1024


class JournalEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One transition. `cursors` are the input sequences it consumed up to, per stream, and `marks`
    when the broker had stored those messages (another instant under the same sequence is another
    message: the broker has lost the first). `now_ns` never goes back. Facts stay raw here; each
    service decodes its own union (`list[JobFact]`, `list[NodeFact]`).
    """

    term: Number
    writer: str
    entry_id: str
    now_ns: Number
    cursors: dict[str, Number]
    facts: list[msgspec.Raw]
    marks: dict[str, Number] = {}


class RefusedItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """`index` is the job's place in the request; −1 when the whole request is meant."""

    index: int
    refusal: Refusal
    job_id: str = ""


class RequestRefused(msgspec.Struct, frozen=True, tag="request_refused", tag_field="fact"):
    tenant: str
    request_seq: Number
    items: tuple[RefusedItem, ...]


class JobSubmitted(
    msgspec.Struct, frozen=True, tag="job_submitted", tag_field="fact", omit_defaults=True
):
    """Accepted and waiting as attempt 1 (public facts `submitted`, `queued`). `digest` is of its
    content.
    """

    tenant: str
    request_seq: Number
    digest: str
    spec: JobSpec


class JobRejected(msgspec.Struct, frozen=True, tag="job_rejected", tag_field="fact"):
    """Accepted but can never run."""

    job_id: str
    refusal: Refusal
    tenant: str = ""


class RankPlacement(msgspec.Struct, frozen=True, omit_defaults=True):
    """`site`: the node's label of that name at the grant, "" = none: prices may depend on it."""

    rank: Number
    node: str
    devices: tuple[str, ...] = ()
    local_rank: Number = 0
    site: str = ""


class LeaseGranted(
    msgspec.Struct, frozen=True, tag="lease_granted", tag_field="fact", omit_defaults=True
):
    """The attempt holds these devices from this entry on (public `placed`). `lease_seq` = the
    entry's sequence; `now_ns` of the entry is the grant's instant. `cpu_milli` and `memory_mib`
    per rank. `alternative`: which of the spec's choices it got; 0 = its own, i = alternatives[i-1].
    `paid_ms`: for how long each rank may run until more is paid for; None = no bound. `reserved`:
    what is set aside for that, in all, of each budget that acts; in the budget's unit.
    """

    job_id: str
    attempt: Number
    ranks: tuple[RankPlacement, ...]
    gpu_milli: Number = 1000
    cpu_milli: Number = 0
    memory_mib: Number = 0
    tenant: str = ""
    alternative: Number = 0
    project: str = ""
    tier: str = ""
    paid_ms: Number | None = None
    reserved: dict[str, Number] = {}


class AttemptPreparing(msgspec.Struct, frozen=True, tag="attempt_preparing", tag_field="fact"):
    """The first agent has begun (public `preparing`)."""

    job_id: str
    attempt: Number
    at_ms: Instant
    tenant: str = ""


class RankPrepared(
    msgspec.Struct, frozen=True, tag="rank_prepared", tag_field="fact", omit_defaults=True
):
    job_id: str
    attempt: Number
    rank: Number
    rendezvous: Rendezvous | None = None


class GangReady(msgspec.Struct, frozen=True, tag="gang_ready", tag_field="fact"):
    """All ranks are prepared: all may start."""

    job_id: str
    attempt: Number
    rendezvous: Rendezvous


class RankStarted(msgspec.Struct, frozen=True, tag="rank_started", tag_field="fact"):
    job_id: str
    attempt: Number
    rank: Number
    at_ms: Instant


class AttemptRunning(msgspec.Struct, frozen=True, tag="attempt_running", tag_field="fact"):
    """Every rank has started (public `running`)."""

    job_id: str
    attempt: Number
    at_ms: Instant
    tenant: str = ""


class RankExited(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="rank_exited",
    tag_field="fact",
    omit_defaults=True,
):
    """As the agent's `Exited` report says; `reason` is one of its reasons."""

    job_id: str
    attempt: Number
    rank: Number
    reason: str
    at_ms: Instant
    exit_code: Small | None = None
    signal: Small | None = None
    started_ms: Instant | None = None
    message: str = ""
    log_bytes: dict[str, Number] = {}
    segments: Number = 0
    outputs: tuple[StoredOutput, ...] = ()


class RankReleased(msgspec.Struct, frozen=True, tag="rank_released", tag_field="fact"):
    """Its devices are free from this entry on. `evidence`: `release_check`, `new_boot`, `fenced`,
    `declined`, `node_removed`, or `never_held`. `at_ms` is the agent's instant when it reported
    one.
    """

    job_id: str
    attempt: Number
    rank: Number
    at_ms: Instant | None
    evidence: str


class StopRequested(msgspec.Struct, frozen=True, tag="stop_requested", tag_field="fact"):
    """The attempt shall end; `cancelled`, `gang_failed`, `budget`, or one of `leases.YIELDS`."""

    job_id: str
    attempt: Number
    reason: str


class CancelRequested(msgspec.Struct, frozen=True, tag="cancel_requested", tag_field="fact"):
    job_id: str
    request_seq: Number
    reason: str


class AttemptEnded(
    msgspec.Struct, frozen=True, tag="attempt_ended", tag_field="fact", omit_defaults=True
):
    """The attempt is over and the job goes back to waiting as attempt + 1 (public `preempted` or
    `lost`, when `outcome` is one of these, then `queued`). `outcome` also `failed` (a retry) and
    `stopped`. `message`: of an attempt that was lost, what its node said.
    """

    job_id: str
    attempt: Number
    outcome: str
    reason: str = ""
    tenant: str = ""
    message: str = ""


class JobFinished(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="job_finished",
    tag_field="fact",
    omit_defaults=True,
):
    """The one terminal state. `exit_code` is the gang's (first rank to fail). `log_bytes` per
    `<attempt>.<rank>.<stream>`: how far a reader must read to have it all."""

    job_id: str
    attempt: Number
    state: str
    exit_code: Small | None = None
    signal: Small | None = None
    reason: str = ""
    message: str = ""
    log_bytes: dict[str, Number] = {}
    lost_before: bool = False
    tenant: str = ""


class JobIdsForgotten(msgspec.Struct, frozen=True, tag="job_ids_forgotten", tag_field="fact"):
    """Ids older than this are no longer remembered (and are refused)."""

    before_ms: Number


JobFact = (
    RequestRefused
    | JobSubmitted
    | JobRejected
    | LeaseGranted
    | AttemptPreparing
    | RankPrepared
    | GangReady
    | RankStarted
    | AttemptRunning
    | RankExited
    | RankReleased
    | StopRequested
    | CancelRequested
    | AttemptEnded
    | JobFinished
    | NodeImaged
    | NodeForgotten
    | JobIdsForgotten
    | WorkloadExpected
    | LeasesPaid
    | BudgetNoted
    | RatesNoted
    | DemandNoted
    | PolicySet
    | PlaceKept
    | PlaceGivenUp
    | HeadHeld
    | HeadPassed
    | JobsWoken
    | StartsExpected
)
