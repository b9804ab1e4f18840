"""What does the scheduler answer when asked?

One handler per query of the registry, each from committed state. It does not know how questions
travel.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from penstock_bus.port import Message
from penstock_contracts.depot import LeaseGrant, LeaseQuery
from penstock_contracts.errors import MALFORMED, Refusal
from penstock_contracts.ids import ROOT
from penstock_contracts.queries import Answer, JobQuery, JobsQuery, NodesQuery
from penstock_contracts.queue_messages import QueueQuery
from penstock_contracts.work import inputs_of, outputs_of
from penstock_runtime.journaled import JournaledService
from penstock_scheduler.core.fold import State
from penstock_scheduler.core.machine import SchedulerCore
from penstock_scheduler.core.queue.views import policy_view, queue_view
from penstock_scheduler.core.state import Job
from penstock_scheduler.core.telling.explain import explain
from penstock_scheduler.core.telling.views import audit, job_view, jobs_view, nodes_view

_encode = msgspec.json.Encoder().encode
_job_query = msgspec.json.Decoder(JobQuery)
_nodes_query = msgspec.json.Decoder(NodesQuery)
_jobs_query = msgspec.json.Decoder(JobsQuery)
_queue_query = msgspec.json.Decoder(QueueQuery)
_lease_query = msgspec.json.Decoder(LeaseQuery)


def answer_queries(
    service: JournaledService, core: Callable[[], SchedulerCore], now_ns: Callable[[], int]
) -> None:
    """Registers every query of the scheduler with its service."""

    def state() -> State:
        return core().state

    def one_job(make: Callable[[Job], object]) -> Callable[[Message], object]:
        def answer(message: Message) -> object:
            job_id = _job_query.decode(message.payload).job_id
            job = state().jobs.get(job_id)
            if job is not None:
                return make(job)
            if state().digest_of(job_id) is not None:
                return Refusal("job_finished", "the job has ended; ask metering")
            return Refusal("unknown_job", f"no live job {job_id[:64]}")

        return answer

    handlers: dict[str, Callable[[Message], object]] = {
        "job": one_job(job_view),
        "explain": one_job(lambda job: explain(state(), job, core().reasons, now_ns())),
        "jobs": lambda message: jobs_view(state(), _jobs_query.decode(message.payload)),
        "nodes": lambda message: nodes_view(
            state(), service.last_seq, _nodes_query.decode(message.payload or b"{}").after
        ),
        "lease": lambda message: _lease(state(), _lease_query.decode(message.payload)),
        "policy": lambda _: policy_view(state()),
        "queue": lambda message: queue_view(
            state(),
            service.last_seq,
            now_ns(),
            _queue_query.decode(message.payload or b"{}").after,
        ),
        "audit": lambda _: audit(state(), service.last_seq, service.cursors.get("NODES", 0)),
    }
    for what, handler in handlers.items():
        service.answer(f"{ROOT}.query.scheduler.{what}", _answering(handler))


def _lease(state: State, asked: LeaseQuery) -> LeaseGrant | Refusal:
    """What the lease's job names, if this node holds it and its end is not told: of an attempt that
    was given up, nothing counts."""
    lease = state.leases.get((asked.job_id, asked.attempt, asked.rank))
    job = state.jobs.get(asked.job_id)
    if (
        lease is None
        or job is None
        or (lease.node, lease.lease_seq) != (asked.node, asked.lease_seq)
        or job.attempt != asked.attempt
        or job.ranks[asked.rank].exited is not None
    ):
        return Refusal("not_held", f"node {asked.node} does not hold that lease of {asked.job_id}")
    spec = lease.spec
    return LeaseGrant(
        tenant=lease.tenant,
        inputs=inputs_of(spec.inputs, lease.rank),
        outputs=outputs_of(spec.outputs, lease.rank),
        secrets=spec.secrets,
    )


def _answering(handler: Callable[[Message], object]) -> Callable[[Message], bytes]:
    def answer(message: Message) -> bytes:
        try:
            value = handler(message)
        except msgspec.ValidationError as error:
            value = Refusal("invalid_field", str(error))
        except MALFORMED as error:
            value = Refusal("malformed_json", str(error))
        if isinstance(value, Refusal):
            return _encode(Answer(refusal=value))
        return _encode(Answer(value=value))

    return answer
