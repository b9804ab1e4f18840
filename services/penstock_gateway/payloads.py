"""What goes over HTTP that is not a contract message already?

Requests with what HTTP makes optional, answers that join several, and the error body. It does not
know routes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from penstock_client.failures import refuse
from penstock_client.submission import Submitted
from penstock_contracts.bounds import Name, Number
from penstock_contracts.errors import Refusal
from penstock_contracts.jobs import JOBS_PER_REQUEST_MAX, JobSpec
from penstock_contracts.nodes import NodeView
from penstock_contracts.queries import NodeUse
from penstock_contracts.queue_policy import QueuePolicy

TENANT_DEFAULT = "default"
SPEC_FIELDS = tuple(field.name for field in msgspec.structs.fields(JobSpec))


class JobRequest(JobSpec, frozen=True, kw_only=True, omit_defaults=True):
    """A job as HTTP takes it. Without `job_id` it gets one; only with one is repeating safe."""

    job_id: str = ""
    tenant: str = ""


class JobsRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Many jobs at once. A malformed one refuses all; well-formed ones are decided one by one."""

    jobs: tuple[JobRequest, ...]
    tenant: str = ""


class JobAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """`state`: accepted, pending (stored, undecided), refused or rejected, with the reason."""

    job_id: str
    state: str
    refusal: Refusal | None = None


class JobsAnswer(msgspec.Struct, frozen=True):
    """One answer per job, in the order of the request."""

    jobs: tuple[JobAnswer, ...]


class CancelAnswer(msgspec.Struct, frozen=True):
    """`state`: the job's end, or `cancelling` while it has not come."""

    job_id: str
    state: str


class NodesAnswer(msgspec.Struct, frozen=True):
    """Inventory's view, and the scheduler's of what is free; `use` null = it does not answer."""

    nodes: tuple[NodeView, ...]
    use: tuple[NodeUse, ...] | None


class PolicyRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The queue's policy as HTTP sets it. Without a `key` (a ULID) it gets one."""

    policy: QueuePolicy
    based_on: Number | None = None
    key: Name = ""


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The body of every error."""

    refusal: Refusal


def decode_jobs(
    body: bytes, tenant: str, new_id: Callable[[], str]
) -> tuple[list[tuple[str, JobSpec]], bool]:
    """(tenant, job) for each job of the body, and whether it was `{"jobs": [...]}`.

    The tenant stands with the job, else with the body, else in the query. Raises Refused.
    """
    document = decode_document(body)
    many = isinstance(document, dict) and "jobs" in document
    try:
        if many:
            request = msgspec.convert(document, JobsRequest)
            jobs, common = request.jobs, request.tenant
        else:
            jobs, common = (msgspec.convert(document, JobRequest),), ""
    except msgspec.ValidationError as error:
        raise refuse("invalid_field", str(error)) from error
    if len(jobs) > JOBS_PER_REQUEST_MAX:
        raise refuse("too_many_jobs", f"{len(jobs)} jobs; at most {JOBS_PER_REQUEST_MAX}", "jobs")
    if not jobs:
        raise refuse("invalid_field", "there is no job in the request", "jobs")
    common = common or tenant or TENANT_DEFAULT
    return [(job.tenant or common, _spec(job, new_id)) for job in jobs], many


def decode_document(body: bytes) -> Any:
    """Any JSON. Raises Refused."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refuse("malformed_json", f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise refuse("malformed_json", "the body is nested too deeply") from error


def answer_for(outcome: Submitted) -> list[JobAnswer]:
    """One line per job, in order."""
    answers = []
    for job_id in outcome.job_ids:
        state = "pending" if job_id in outcome.pending else "accepted"
        refusal = outcome.refused.get(job_id) or outcome.rejected.get(job_id)
        if refusal is not None:
            state = "refused" if job_id in outcome.refused else "rejected"
        answers.append(JobAnswer(job_id, state, refusal))
    return answers


def _spec(job: JobRequest, new_id: Callable[[], str]) -> JobSpec:
    values = {name: getattr(job, name) for name in SPEC_FIELDS}
    return JobSpec(**{**values, "job_id": job.job_id or new_id()})
