"""What becomes of a request?

Admission of submits and cancels: which parts are refused and why, which become jobs. It does not
know where a job will run.
"""

from __future__ import annotations

import hashlib

import msgspec

from penstock_contracts.errors import Refusal
from penstock_contracts.ids import (
    JOB_ID_AHEAD_MS_MAX,
    JOB_ID_REMEMBERED_MS,
    is_token,
    ulid_time_ms,
)
from penstock_contracts.jobs import QUEUED, JobSpec
from penstock_contracts.journal import (
    CancelRequested,
    JobFact,
    JobFinished,
    JobRejected,
    JobSubmitted,
    RefusedItem,
    RequestRefused,
    StopRequested,
)
from penstock_scheduler.core.events import CancelAsked, JobsRequested, RequestBroken
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.money.affording import not_admitted
from penstock_scheduler.core.placing.placement import fits_when_empty
from penstock_scheduler.core.queue.admission import not_queued, quotas_of
from penstock_scheduler.core.queue.backlog import Share, size_of
from penstock_scheduler.core.queue.quotas.rules import Leaf
from penstock_scheduler.core.remembering import REMEMBERED_REFUSED
from penstock_scheduler.core.shapes import Shape, shape_of
from penstock_scheduler.core.state import DIGEST_LOST, Job
from penstock_scheduler.core.telling.waits import needs_of

LIVE_JOBS_MAX = 500_000
"""More unfinished jobs than this are refused: memory is bounded."""
WAITING_BYTES_MAX = 128 * 1024 * 1024
"""Requests of waiting jobs together: three snapshots of them must fit into their bucket."""
WAITING_JOBS_OF_TENANT_MAX = 100_000
WAITING_BYTES_OF_TENANT_MAX = 32 * 1024 * 1024
"""Whoever floods the mesh fills a part of it, and others are still accepted."""
SHAPES_MAX = 5_000
SHAPES_OF_TENANT_MAX = 1_000
"""Different demands that wait: each is tried whenever something is freed that may do for it."""
FLEET_SETTLED_NS = 3_000_000_000
"""A fleet that has changed within this time may still be growing: nothing is called impossible
yet.
"""

_encoder = msgspec.json.Encoder()


def digest_of(tenant: str, spec: JobSpec) -> str:
    """Two requests with the same digest ask for the same."""
    return hashlib.blake2b(
        tenant.encode() + b"/" + _encoder.encode(spec), digest_size=16
    ).hexdigest()


def decide_submit(state: State, event: JobsRequested, now_ns: int) -> list[JobFact]:
    """Each job of a request by itself: accepted, known already, impossible, or refused."""
    if not is_token(event.tenant):
        return [_broken(event.tenant, event.request_seq, "invalid_tenant", "tenant")]
    facts: list[JobFact] = []
    refused: list[RefusedItem] = []
    new: dict[str, str] = {}
    wall_ms = now_ns // 1_000_000 if event.wall_ms is None else event.wall_ms
    asked = Share()
    of_quotas: dict[str, int] = {}
    for index, item in enumerate(event.items):
        if isinstance(item, RefusedItem):
            refused.append(item)
            continue
        digest = digest_of(event.tenant, item)
        known = new.get(item.job_id) or state.digest_of(item.job_id)
        if known in (digest, DIGEST_LOST):
            continue
        refusal = (
            _refusal(state, item, known, wall_ms)
            or not_admitted(state, event.tenant, item)
            or not_queued(state, event.tenant, item, of_quotas)
            or _no_room(state, event.tenant, item, asked)
        )
        if refusal is not None:
            refused.append(RefusedItem(index, refusal, item.job_id))
            continue
        new[item.job_id] = digest
        asked.count(1, size_of(item))
        for quota in quotas_of(state, event.tenant, item):
            of_quotas[quota.name] = of_quotas.get(quota.name, 0) + 1
        facts.append(JobSubmitted(event.tenant, event.request_seq, digest, item))
        rejection = impossible(state, item, now_ns)
        if rejection is not None:
            facts.append(JobRejected(item.job_id, rejection, event.tenant))
    if refused:
        facts.append(RequestRefused(event.tenant, event.request_seq, tuple(refused)))
    return facts


def _refusal(state: State, spec: JobSpec, known: str | None, wall_ms: int) -> Refusal | None:
    if known is not None:
        message = "this job_id was used for a different job; choose a new ULID"
        return Refusal("job_id_conflict", message, "job_id")
    made_ms = ulid_time_ms(spec.job_id)
    age_ms = wall_ms - made_ms
    if age_ms > JOB_ID_REMEMBERED_MS:
        return Refusal("job_id_too_old", "job_id is older than 7 days; choose a new ULID", "job_id")
    if made_ms < state.forgotten_before_ms:
        message = "ids as old as job_id are forgotten already; choose a new ULID"
        return Refusal("job_id_too_old", message, "job_id")
    if -age_ms > JOB_ID_AHEAD_MS_MAX:
        message = "job_id lies more than 10 minutes in the future; check the clock that made it"
        return Refusal("job_id_in_future", message, "job_id")
    return None


def _no_room(state: State, tenant: str, spec: JobSpec, asked: Share) -> Refusal | None:
    """Why nothing more is accepted now; `asked` comes before it in the same request."""
    line = state.line
    if len(state.remembered) >= REMEMBERED_REFUSED:
        return Refusal("backlog_full", "too many jobs have ended in the last minutes; try later")
    if len(state.jobs) + asked.jobs >= LIVE_JOBS_MAX:
        message = "the mesh holds as many unfinished jobs as it can; try later"
        return Refusal("backlog_full", message)
    if line.all.bytes + asked.bytes >= WAITING_BYTES_MAX:
        message = "the requests that wait are as large together as the mesh can hold; try later"
        return Refusal("backlog_full", message)
    share = line.share_of(tenant)
    if share.jobs + state.resting.of(tenant) + asked.jobs >= WAITING_JOBS_OF_TENANT_MAX:
        message = f"{WAITING_JOBS_OF_TENANT_MAX} jobs of this tenant wait already; try later"
        return Refusal("backlog_full", message)
    if share.bytes + asked.bytes >= WAITING_BYTES_OF_TENANT_MAX:
        size_mib = WAITING_BYTES_OF_TENANT_MAX >> 20
        message = f"this tenant's requests that wait are {size_mib} MiB together; try later"
        return Refusal("backlog_full", message)
    crowded = len(share.shapes) >= SHAPES_OF_TENANT_MAX or line.demand_count >= SHAPES_MAX
    if crowded and state.shape_in_line(tenant, spec) not in share.shapes:
        message = "jobs with very many different demands wait already; try later"
        return Refusal("backlog_full", message)
    return None


def impossible(state: State, spec: JobSpec, now_ns: int) -> Refusal | None:
    """Why a job can never run on the registered nodes; None while it can, or while that is
    unknown.
    """
    if not state.nodes or now_ns - state.fleet_changed_ns < FLEET_SETTLED_NS:
        return None
    shape = shape_of(spec, leaf=Leaf(state.rules.pool_named(spec.pool).name))
    if fits_now(state, shape):
        return None
    what = " or ".join(map(needs_of, (shape, *shape.alternatives)))
    message = f"{what} does not fit all {len(state.nodes)} registered node(s) together"
    return Refusal("impossible", message)


def fits_now(state: State, shape: Shape) -> bool:
    """Whether the registered nodes, when empty, have room for the shape."""
    fits = state.capacity.known_fit(shape)
    if fits is None:
        fits = fits_when_empty(shape, state.capacity)
        state.capacity.note_fit(shape, fits)
    return fits


def decide_impossible(state: State, now_ns: int) -> list[JobFact]:
    """Rejects what waits and, now that the fleet has settled, turns out to fit nowhere."""
    facts: list[JobFact] = []
    for demand in state.line.demands():
        if state.capacity.known_fit(demand):
            continue
        if fits_now(state, demand):
            continue
        for shape in state.line.asking(demand):
            for job_id in state.line.jobs_of(shape):
                job = state.jobs[job_id]
                refusal = impossible(state, job.spec, now_ns) if job.attempt == 1 else None
                if refusal is None:
                    break
                facts.append(JobRejected(job_id, refusal, job.tenant))
    return facts


def decide_cancel(state: State, event: CancelAsked) -> list[JobFact]:
    """A waiting job ends at once; a placed one is stopped; an ended or unknown one is refused."""
    job = state.jobs.get(event.job_id)
    if job is None or job.tenant != event.tenant:
        finished = state.digest_of(event.job_id) is not None and job is None
        code = "job_finished" if finished else "unknown_job"
        message = "the job has ended already" if finished else "no such job of this tenant"
        item = RefusedItem(-1, Refusal(code, message, "job_id"), event.job_id)
        return [RequestRefused(event.tenant, event.request_seq, (item,))]
    if job.cancel_reason is not None:
        return []
    facts: list[JobFact] = [CancelRequested(event.job_id, event.request_seq, event.reason)]
    if job.state == QUEUED:
        facts.append(_cancelled(job, event.reason))
    elif not job.stop_reason:
        facts.append(StopRequested(event.job_id, job.attempt, "cancelled"))
    return facts


def _cancelled(job: Job, reason: str) -> JobFinished:
    return JobFinished(
        job_id=job.spec.job_id,
        tenant=job.tenant,
        attempt=job.attempt,
        state="cancelled",
        reason="cancelled",
        message=reason,
        log_bytes=job.log_bytes,
    )


def decide_broken(event: RequestBroken) -> list[JobFact]:
    """Answers a request nothing can be made of."""
    return [
        RequestRefused(event.tenant, event.request_seq, (RefusedItem(-1, event.refusal),)),
    ]


def _broken(tenant: str, request_seq: int, code: str, field: str) -> RequestRefused:
    message = f"{field} must be 1-63 letters, digits, '_' or '-', beginning with a letter or digit"
    return RequestRefused(tenant, request_seq, (RefusedItem(-1, Refusal(code, message, field)),))
