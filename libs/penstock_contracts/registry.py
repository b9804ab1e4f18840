"""Which messages exist, where do they go, and who may say or hear them?

Each message is declared once. Stream configuration, NATS permissions, the AsyncAPI document and
the subject table are derived from this file and `streams`. It does not know how a broker enforces
any of it.
"""

from __future__ import annotations

import msgspec

from penstock_contracts import jobs, journal, leases, nodes, public, queries, usage
from penstock_contracts.ids import ROOT

CORE = "core"
SERVICE = "request-reply"

CLIENT = "client"
NODE = "node"
SCHEDULER = "scheduler"
INVENTORY = "inventory"
METERING = "metering"
GATEWAY = "gateway"
ADMIN = "admin"

MESH_ROLES = (SCHEDULER, INVENTORY, METERING, GATEWAY)
ASKERS = (CLIENT, GATEWAY)


class MessageType(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of message. `subject` is a template below the root with `{parameters}`; `carrier`
    is a stream's name, `core`, or `request-reply`; `payload` None = raw bytes; `answer` for
    request-reply; `key` says what makes two of them the same; `many` names the
    field that holds several payloads in one message.
    """

    name: str
    subject: str
    carrier: str
    payload: object
    key: str
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    summary: str
    answer: object = None
    many: str = ""

    @property
    def template(self) -> str:
        return f"{ROOT}.{self.subject}"

    @property
    def wildcard(self) -> str:
        """The template with every parameter as `*`."""
        tokens = self.subject.split(".")
        return ".".join((ROOT, *("*" if token.startswith("{") else token for token in tokens)))


def _query(service: str, what: str, ask: object, answer: object, summary: str) -> MessageType:
    return MessageType(
        name=f"query_{service}_{what}",
        subject=f"query.{service}.{what}",
        carrier=SERVICE,
        payload=ask,
        answer=answer,
        key="none: asking changes nothing",
        writers=ASKERS,
        readers=(service,),
        summary=summary,
    )


MESSAGES: tuple[MessageType, ...] = (
    MessageType(
        name="submit_job",
        subject="request.job.{tenant}.submit",
        carrier="REQUESTS",
        payload=jobs.JobSpec,
        many="jobs",
        key="job_id of each job",
        writers=ASKERS,
        readers=(SCHEDULER,),
        summary='Asks that one job run, or many: {"jobs": [...]}. Durable once acknowledged.',
    ),
    MessageType(
        name="cancel_job",
        subject="request.job.{tenant}.cancel",
        carrier="REQUESTS",
        payload=jobs.CancelJob,
        key="job_id",
        writers=ASKERS,
        readers=(SCHEDULER,),
        summary="Asks that a job end.",
    ),
    MessageType(
        name="request_refused",
        subject="refusal.{tenant}.{request_seq}",
        carrier="FACTS",
        payload=public.RequestRefusal,
        key="request_seq",
        writers=(SCHEDULER,),
        readers=ASKERS,
        summary="Why a request or a job in it was refused; request_seq is in the answer.",
    ),
    MessageType(
        name="job_event",
        subject="job.{tenant}.{job_id}.{fact}",
        carrier="FACTS",
        payload=public.JobEvent,
        key="(seq, index)",
        writers=(SCHEDULER,),
        readers=ASKERS,
        summary="One fact of a job's life.",
    ),
    MessageType(
        name="jobs_journal",
        subject="journal.jobs",
        carrier="JOBS",
        payload=journal.JournalEntry,
        key="entry_id",
        writers=(SCHEDULER,),
        readers=(METERING,),
        summary="One transition of the scheduler, with all its facts.",
    ),
    MessageType(
        name="nodes_journal",
        subject="journal.nodes",
        carrier="NODES",
        payload=journal.JournalEntry,
        key="entry_id",
        writers=(INVENTORY,),
        readers=(SCHEDULER, METERING),
        summary="One transition of inventory, with all its facts.",
    ),
    MessageType(
        name="node_desired",
        subject="node.{node}.desired",
        carrier=SERVICE,
        payload=leases.NodeDesired,
        answer=leases.DesiredAck,
        key="as_of",
        writers=(SCHEDULER,),
        readers=(NODE,),
        summary="What the node should hold now.",
    ),
    MessageType(
        name="node_renewal",
        subject="node.{node}.renewal",
        carrier=CORE,
        payload=leases.LeaseRenewal,
        key="sent_boot_ns",
        writers=(SCHEDULER,),
        readers=(NODE,),
        summary="Answers a heartbeat: leases hold on.",
    ),
    MessageType(
        name="node_audit",
        subject="node.{node}.audit",
        carrier=SERVICE,
        payload=queries.Empty,
        answer=usage.AuditReply,
        key="none: repeating closes segments again",
        writers=(METERING,),
        readers=(NODE,),
        summary="Asks that segments be closed and counters taken now.",
    ),
    MessageType(
        name="node_report",
        subject="node.{node}.report",
        carrier="REPORTS",
        payload=leases.NodeReport,
        key="lease_seq, job_id, rank and kind of each item",
        writers=(NODE,),
        readers=(SCHEDULER,),
        summary="What happened on the node, in order.",
    ),
    MessageType(
        name="node_description",
        subject="node.{node}.description",
        carrier="DESCRIPTIONS",
        payload=nodes.NodeDescription,
        key="the whole: repeating changes nothing",
        writers=(NODE,),
        readers=(INVENTORY,),
        summary="What the node is: at every start of its agent, and when that changes.",
    ),
    MessageType(
        name="node_heartbeat",
        subject="node.{node}.heartbeat",
        carrier=CORE,
        payload=nodes.Heartbeat,
        key="sent_boot_ns",
        writers=(NODE,),
        readers=(INVENTORY, SCHEDULER),
        summary="The agent is there; what it holds, as a digest.",
    ),
    MessageType(
        name="node_sample",
        subject="node.{node}.sample",
        carrier="SAMPLES",
        payload=dict[str, float | None],
        key="none: the newest counts",
        writers=(NODE,),
        readers=(METERING, GATEWAY),
        summary="Readings of the node's devices.",
    ),
    MessageType(
        name="node_usage",
        subject="usage.{node}",
        carrier="USAGE",
        payload=usage.UsageBatch,
        key="id of each segment; (boot_id, batch) of the counters",
        writers=(NODE,),
        readers=(METERING,),
        summary="All segments and counters the node owes.",
    ),
    MessageType(
        name="job_log",
        subject="log.{tenant}.{job_id}.{attempt}.{rank}.{stream}",
        carrier="LOGS",
        payload=None,
        key="subject and header Penstock-Offset",
        writers=(NODE,),
        readers=ASKERS,
        summary="Output as written: raw bytes at the offset in the header Penstock-Offset.",
    ),
    MessageType(
        name="budget_fact",
        subject="budget.{tenant}.{fact}",
        carrier="BUDGETS",
        payload=dict[str, int],
        key="fact",
        writers=(METERING,),
        readers=(SCHEDULER,),
        summary="Reserved: what a tenant may still spend.",
    ),
    MessageType(
        name="node_command",
        subject="command.node.{node}.{verb}",
        carrier=SERVICE,
        payload=nodes.NodeCommand,
        answer=queries.Answer[nodes.NodeView],
        key="verb: repeating changes nothing",
        writers=ASKERS,
        readers=(INVENTORY,),
        summary="cordon, uncordon, drain, fence or remove a node; answered once committed.",
    ),
    _query("scheduler", "jobs", queries.JobsQuery, queries.Answer[queries.JobsView], "Live jobs."),
    _query("scheduler", "job", queries.JobQuery, queries.Answer[queries.JobView], "One live job."),
    _query(
        "scheduler",
        "explain",
        queries.JobQuery,
        queries.Answer[queries.Explanation],
        "Why a job is where it is.",
    ),
    _query(
        "scheduler",
        "nodes",
        queries.Empty,
        queries.Answer[queries.NodesUseView],
        "What is free on each node.",
    ),
    _query(
        "scheduler",
        "audit",
        queries.Empty,
        queries.Answer[queries.SchedulerAudit],
        "The scheduler's invariants, checked now.",
    ),
    _query(
        "inventory",
        "nodes",
        queries.NodesQuery,
        queries.Answer[queries.NodesView],
        "Every node with its devices, health and liveness.",
    ),
    _query("inventory", "node", queries.NodeQuery, queries.Answer[nodes.NodeView], "One node."),
    _query(
        "inventory",
        "audit",
        queries.Empty,
        queries.Answer[queries.InventoryAudit],
        "Inventory's invariants, checked now.",
    ),
    _query(
        "metering", "jobs", queries.JobsQuery, queries.Answer[queries.JobsView], "Finished jobs."
    ),
    _query(
        "metering",
        "job",
        queries.JobQuery,
        queries.Answer[queries.JobView],
        "One job from history, with its use and cost.",
    ),
    _query(
        "metering",
        "usage",
        queries.UsageQuery,
        queries.Answer[queries.UsageView],
        "GPU time and cost per tenant.",
    ),
    _query(
        "metering",
        "audit",
        queries.MeteringAuditQuery,
        queries.Answer[queries.MeteringAudit],
        "The ledger against the agents' own counters.",
    ),
)

BY_NAME: dict[str, MessageType] = {message.name: message for message in MESSAGES}
