"""Why can a request be refused, and what is the user told?

The catalogue of stable refusal codes. A refusal is a value: a code a program can branch on and a
sentence that says what to do. It does not know who refuses.
"""

from __future__ import annotations

import msgspec


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True):
    """`field` names the offending part of the request as a path (`jobs[2].gpus`), when there is
    one.
    """

    code: str
    message: str
    field: str = ""


MALFORMED = (
    msgspec.DecodeError,
    UnicodeDecodeError,
    RecursionError,
)
"""All that decoding bytes of others may raise: no JSON or another shape, a string that is not UTF-8
(msgspec leaves that to Python), nested too deeply."""


class InvariantError(Exception):
    """A bug: the state contradicts itself. The process ends and restarts from its journal."""


CODES: dict[str, str] = {
    "malformed_json": "The payload is not JSON, or not of the documented shape.",
    "invalid_field": "A field has the wrong type or is out of range.",
    "contradiction": "Two things that the job asks for exclude each other, or one needs another.",
    "invalid_tenant": "The tenant in the subject is not a valid name.",
    "invalid_job_id": "The job id is not a ULID.",
    "job_id_too_old": "The job id's timestamp is older than the ids that are remembered.",
    "job_id_in_future": "The job id's timestamp lies too far ahead.",
    "job_id_conflict": "The same job id was used before with different content.",
    "unknown_export": "That export is over, or its next page was not asked for in time.",
    "unknown_job": "No such job for this tenant.",
    "job_finished": "The job has ended; there is nothing to cancel.",
    "unknown_verb": "The subject's verb is not one of the documented ones.",
    "request_too_large": "The request is over the size limit.",
    "answer_too_large": "The answer is over the size limit; ask for less.",
    "too_many_jobs": "The request carries more jobs than one message may.",
    "backlog_full": "The mesh holds as much unfinished work as it can; submit again later.",
    "impossible": "The job does not fit all registered nodes together.",
    "unknown_node": "No such node.",
    "node_alive": "The node is alive and would come back; stop its agent first.",
    "node_revoked": "The node's key was revoked; it is to be removed, or its host to join anew.",
    "joining_off": "This mesh's inventory has no keys to sign with; no host can join by a token.",
    "no_tls": "Hosts join over TLS only, and this broker speaks none.",
    "wrong_certificate": "The server has another certificate than the token says.",
    "too_many_invitations": "So many invitations are open; wait until some have run out.",
    "invitation_unknown": "There is no such invitation, or it is forgotten.",
    "invitation_expired": "The invitation has run out; ask for a new one.",
    "invitation_used": "The invitation has been used; it lets one host in.",
    "name_taken": "Another host has that name; it is a node, or waits to become one.",
    "key_known": "The key belongs to another node or invitation.",
    "key_revoked": "The key was revoked: its host is no node any more.",
    "key_unknown": "The key belongs to no node.",
    "nobody_waits": "No host of that name waits for approval.",
    "unauthorized": "The token is missing or wrong.",
    "not_found": "No such resource.",
    "unavailable": "The service that would answer is not there now; try again.",
    "no_such_file": "The tenant has no file of that name.",
    "file_incomplete": "Parts of the file are missing, or it is not what its record says.",
    "depot_full": "The tenant, or the depot, has no room for it; remove files.",
    "no_such_secret": "The tenant has no secret of that name.",
    "too_many_costs": "The ledger has as many cost versions as it keeps.",
    "too_many_secrets": "The tenant has as many secrets as it may.",
    "not_sealed": "What should be a secret is not sealed for this depot, or for another name.",
    "no_credit": "So much prepaid credit is not there, or not free.",
    "withdrawal_open": "A withdrawal of credit waits for the scheduler; ask again.",
    "too_many_budgets": "The tenant has as many budgets as it may.",
    "over_budget": "A budget of the tenant that refuses new work is used up.",
    "prepaid_needs_disconnect": "Work that is paid in advance must say its disconnect_s.",
    "period_not_over": "The month is not over; it can be closed when it is.",
    "period_closed": "The month is closed; nothing about it changes.",
    "period_before_open": "A month before it is open; close that first.",
    "unknown_invoice": "There is no such invoice, or no such line of it.",
    "too_much_credit": "No more than what an invoice asks for can be taken back.",
    "policy_changed": "Another policy of the queue holds by now; look at it and try again.",
    "policy_too_large": "The policy of the queue is larger than one message may be.",
    "name_repeated": "Two pools, two quotas or two reservations have the same name.",
    "pool_without_nodes": "Every node that could be in the pool is in one before it.",
    "unknown_pool": "The queue's policy has no such pool.",
    "over_quota": "The job asks for more than a quota it counts in ever allows.",
    "queue_full": "As many jobs of the quota wait as it lets wait.",
    "unknown_parent": "The quota's parent is not in the policy.",
    "quota_cycle": "Quotas are below each other in a circle.",
    "quota_too_deep": "The quota is further below its pool than the tree may be deep.",
    "other_pool": "The quota's parent is in another pool.",
    "parent_of_tenant": "A quota that counts a tenant's jobs has others below it.",
    "counted_twice": "Two quotas of a pool count the same jobs.",
    "project_without_tenant": "A project belongs to a tenant, and none is named.",
    "guarantee_over_maximum": "More is guaranteed to the quota than it may have.",
    "guarantees_over_parent": "More is guaranteed to quotas together than to their parent.",
    "maximum_over_parent": "The limit is over that of a quota above: it could never refuse.",
    "ends_before_start": "The reservation ends before it starts.",
    "reserves_nothing": "The reservation names no nodes, or both nodes and labels.",
    "reservations_overlap": "Two reservations are for the same node at the same time.",
    "not_held": "The node does not hold that lease, or it is not the one that counts.",
    "key_used": "The key was used before, for something else.",
    "unknown_sku": "Nothing is sold under that name.",
    "no_list_price": "There is no list price to take a discount off.",
    "price_in_past": "A price holds from now on or later; what was used before has its price.",
    "other_currency": "The price book is in another currency.",
    "not_named": "The lease's job does not name that file or secret.",
}
