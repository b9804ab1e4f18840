"""Which questions may be asked of services, and who may ask?

Part of the registry: request-reply messages that change nothing. It does not know who answers how.
"""

from __future__ import annotations

from penstock_contracts import depot, explanations, joining, nodes, queries
from penstock_contracts.message_type import ASKERS, GATEWAY, METERING, SERVICE, MessageType


def query(
    service: str,
    what: str,
    ask: object,
    answer: object,
    summary: str,
    *,
    askers: tuple[str, ...] = ASKERS,
) -> MessageType:
    """A question to a service, which changes nothing."""
    return MessageType(
        name=f"query_{service}_{what}",
        subject=f"query.{service}.{what}",
        carrier=SERVICE,
        payload=ask,
        answer=answer,
        key="none: asking changes nothing",
        writers=askers,
        readers=(service,),
        summary=summary,
    )


QUESTIONS: tuple[MessageType, ...] = (
    query("scheduler", "jobs", queries.JobsQuery, queries.Answer[queries.JobsView], "Live jobs."),
    query("scheduler", "job", queries.JobQuery, queries.Answer[queries.JobView], "One live job."),
    query(
        "scheduler",
        "explain",
        queries.JobQuery,
        queries.Answer[explanations.Explanation],
        "Why a job is where it is.",
    ),
    query(
        "scheduler",
        "nodes",
        queries.NodesQuery,
        queries.Answer[queries.NodesUseView],
        "What is free on each node.",
    ),
    query(
        "scheduler",
        "lease",
        depot.LeaseQuery,
        queries.Answer[depot.LeaseGrant],
        "Whether a node holds a lease, and what its job names.",
        askers=(GATEWAY,),
    ),
    query(
        "scheduler",
        "audit",
        queries.Empty,
        queries.Answer[queries.SchedulerAudit],
        "The scheduler's invariants, checked now.",
    ),
    query(
        "inventory",
        "nodes",
        queries.NodesQuery,
        queries.Answer[queries.NodesView],
        "Every node with its devices, health and liveness.",
        askers=(*ASKERS, METERING),
    ),
    query("inventory", "node", queries.NodeQuery, queries.Answer[nodes.NodeView], "One node."),
    query(
        "inventory",
        "invitations",
        queries.Empty,
        queries.Answer[joining.InvitationsView],
        "Who is invited to join, and who waits for approval.",
    ),
    query(
        "inventory",
        "audit",
        queries.Empty,
        queries.Answer[queries.InventoryAudit],
        "Inventory's invariants, checked now.",
    ),
    query(
        "metering", "jobs", queries.JobsQuery, queries.Answer[queries.JobsView], "Finished jobs."
    ),
    query(
        "metering",
        "job",
        queries.JobQuery,
        queries.Answer[queries.JobView],
        "One job from history, with its use and cost.",
    ),
    query(
        "metering",
        "usage",
        queries.UsageQuery,
        queries.Answer[queries.UsageView],
        "GPU time and cost per tenant.",
    ),
    query(
        "metering",
        "audit",
        queries.MeteringAuditQuery,
        queries.Answer[queries.MeteringAudit],
        "The ledger against the agents' own counters.",
    ),
)
