"""Which operations does the HTTP API have?

One table: method, path, parameters, bodies. The routes and the OpenAPI document are both made from
it. It does not know how any of them is done.
"""

from __future__ import annotations

import msgspec

from penstock_client.checking import Report
from penstock_client.views import NODE_VERBS
from penstock_contracts.bills import BillsView, JobAccount
from penstock_contracts.explanations import Explanation
from penstock_contracts.nodes import NodeCommand, NodeView
from penstock_contracts.public import JobEvent
from penstock_contracts.queries import JobsView, JobView, UsageView
from penstock_contracts.queue_faults import POLICY_RULES
from penstock_contracts.queue_messages import QueueView
from penstock_contracts.queue_policy import PolicyVersion
from penstock_gateway.payloads import (
    CancelAnswer,
    JobRequest,
    JobsAnswer,
    JobsRequest,
    NodesAnswer,
    PolicyRequest,
)

JSON = "application/json"
SSE = "text/event-stream"
BYTES = "application/octet-stream"
HTML = "text/html"


class Parameter(msgspec.Struct, frozen=True):
    """`place`: path, query or header. `kind`: a JSON Schema type, or its allowed values."""

    name: str
    place: str
    summary: str
    kind: str | tuple[str, ...] = "string"


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """`name` is the operationId and the handler's name. `answers`: media type to payload type."""

    name: str
    method: str
    path: str
    tag: str
    summary: str
    answers: dict[str, object]
    status: int = 200
    parameters: tuple[Parameter, ...] = ()
    bodies: tuple[object, ...] = ()
    body_required: bool = True
    errors: tuple[str, ...] = ()


JOB = Parameter("job_id", "path", "The job's ULID.")
NODE = Parameter("node", "path", "The node's name.")
TENANT = Parameter("tenant", "query", "Whose it is.")
MONTH = Parameter("month", "query", "A month in UTC such as 2026-11; without, the present one.")
FOLLOW = Parameter("follow", "query", "Go on until the job ends.", "boolean")
RANK = Parameter("rank", "query", "Only this rank.", "integer")

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="submit_jobs",
        method="POST",
        path="/v1/jobs",
        tag="jobs",
        summary="Submit one job, or many as {jobs: [...]}. Repeating with the same job_id is safe.",
        parameters=(TENANT,),
        bodies=(JobRequest, JobsRequest),
        answers={JSON: JobsAnswer},
        status=202,
        errors=(
            "malformed_json",
            "invalid_field",
            "contradiction",
            "job_id_conflict",
            "impossible",
            "over_budget",
            "over_quota",
            "unknown_pool",
            "queue_full",
            "backlog_full",
        ),
    ),
    Operation(
        name="list_jobs",
        method="GET",
        path="/v1/jobs",
        tag="jobs",
        summary="Jobs, live and finished, newest first.",
        parameters=(
            TENANT,
            Parameter("state", "query", "Only jobs in this state."),
            Parameter("limit", "query", "At most so many (1 to 1000).", "integer"),
            Parameter("before", "query", "Only jobs older than this one."),
        ),
        answers={JSON: JobsView},
        errors=("invalid_field",),
    ),
    Operation(
        name="show_job",
        method="GET",
        path="/v1/jobs/{job_id}",
        tag="jobs",
        summary="One job.",
        parameters=(JOB,),
        answers={JSON: JobView},
        errors=("invalid_job_id", "unknown_job"),
    ),
    Operation(
        name="cancel_job",
        method="DELETE",
        path="/v1/jobs/{job_id}",
        tag="jobs",
        summary="Cancel a job.",
        parameters=(JOB, TENANT, Parameter("reason", "query", "Kept with the job.")),
        answers={JSON: CancelAnswer},
        status=202,
        errors=("invalid_job_id", "unknown_job", "job_finished"),
    ),
    Operation(
        name="explain_job",
        method="GET",
        path="/v1/jobs/{job_id}/explain",
        tag="jobs",
        summary="Why a job is where it is.",
        parameters=(JOB,),
        answers={JSON: Explanation},
        errors=("invalid_job_id", "unknown_job"),
    ),
    Operation(
        name="follow_job",
        method="GET",
        path="/v1/jobs/{job_id}/events",
        tag="jobs",
        summary="The job's facts as server-sent events, each once, to its end.",
        parameters=(
            JOB,
            Parameter("Last-Event-ID", "header", "Go on behind this event: <seq>.<index>."),
            Parameter("after", "query", "The same, for readers that set no headers."),
        ),
        answers={SSE: JobEvent},
        errors=("invalid_job_id", "unknown_job", "invalid_field"),
    ),
    Operation(
        name="read_logs",
        method="GET",
        path="/v1/jobs/{job_id}/logs",
        tag="jobs",
        summary="What the job wrote: raw bytes, or server-sent events by Accept.",
        parameters=(
            JOB,
            RANK,
            Parameter("stream", "query", "Only this one; both when absent.", ("stdout", "stderr")),
            Parameter("since", "query", "Stored from then on: an instant, or a length ago."),
            Parameter("until", "query", "Stored before then; nothing is followed."),
            FOLLOW,
        ),
        answers={BYTES: None, SSE: None},
        errors=("invalid_job_id", "unknown_job", "invalid_field"),
    ),
    Operation(
        name="list_nodes",
        method="GET",
        path="/v1/nodes",
        tag="nodes",
        summary="Nodes, and what is free on them.",
        answers={JSON: NodesAnswer},
    ),
    Operation(
        name="show_node",
        method="GET",
        path="/v1/nodes/{node}",
        tag="nodes",
        summary="One node and its devices.",
        parameters=(NODE,),
        answers={JSON: NodeView},
        errors=("unknown_node",),
    ),
    Operation(
        name="command_node",
        method="POST",
        path="/v1/nodes/{node}/{verb}",
        tag="nodes",
        summary="Cordon, uncordon, drain, fence or remove a node; answered once committed.",
        parameters=(NODE, Parameter("verb", "path", "What to do.", NODE_VERBS)),
        bodies=(NodeCommand,),
        body_required=False,
        answers={JSON: NodeView},
        errors=("unknown_node", "unknown_verb", "malformed_json", "invalid_field"),
    ),
    Operation(
        name="show_queue",
        method="GET",
        path="/v1/queue",
        tag="queue",
        summary="Pools and quotas: what is held, who waits, who is over and who is owed.",
        answers={JSON: QueueView},
    ),
    Operation(
        name="show_policy",
        method="GET",
        path="/v1/queue/policy",
        tag="queue",
        summary="The queue's policy that holds: pools, quotas and reservations.",
        answers={JSON: PolicyVersion},
    ),
    Operation(
        name="set_policy",
        method="PUT",
        path="/v1/queue/policy",
        tag="queue",
        summary="Set all of it anew; answered once committed. With `based_on`, only while that "
        "version holds; with a `key` repeating is safe.",
        bodies=(PolicyRequest,),
        answers={JSON: PolicyVersion},
        errors=("malformed_json", "invalid_field", "policy_changed", *POLICY_RULES),
    ),
    Operation(
        name="show_usage",
        method="GET",
        path="/v1/usage",
        tag="use",
        summary="GPU time and cost per tenant, in [from, to).",
        parameters=(
            TENANT,
            Parameter("from", "query", "ISO 8601, or a length of time ago such as 24h."),
            Parameter("to", "query", "The same."),
        ),
        answers={JSON: UsageView},
        errors=("invalid_field",),
    ),
    Operation(
        name="show_bills",
        method="GET",
        path="/v1/bills",
        tag="use",
        summary="The bills of a month: as issued, or as they would be now.",
        parameters=(TENANT, MONTH),
        answers={JSON: BillsView},
        errors=("invalid_field",),
    ),
    Operation(
        name="print_bills",
        method="GET",
        path="/v1/bills.html",
        tag="use",
        summary="The same as a page to print.",
        parameters=(TENANT, MONTH),
        answers={HTML: None},
        errors=("invalid_field",),
    ),
    Operation(
        name="explain_account",
        method="GET",
        path="/v1/jobs/{job_id}/account",
        tag="use",
        summary="How a job came to its part of a bill: every segment, price and rounding.",
        parameters=(JOB,),
        answers={JSON: JobAccount},
        errors=("invalid_job_id", "unknown_job"),
    ),
    Operation(
        name="check_mesh",
        method="GET",
        path="/v1/check",
        tag="use",
        summary="Every service's audit at one watermark, compared. `ok` says whether all is well.",
        answers={JSON: Report},
    ),
)
