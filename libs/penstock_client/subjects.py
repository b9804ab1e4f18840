"""On which subject does a message of the registry go?

Fills the registry's templates. Every value is one valid token or a wildcard that the caller asked
for, so that no name can form another subject. It does not know payloads.
"""

from __future__ import annotations

from penstock_client.failures import refuse
from penstock_contracts.ids import is_token, is_ulid
from penstock_contracts.registry import BY_NAME


class _Wildcard(str):
    """A `*` that the program means, unlike one that a user typed."""


ANY = _Wildcard("*")


def subject_of(message: str, **values: str) -> str:
    """The subject of the registry's `message`; `ANY` is for subscriptions and filters.

    There is no `>`: the broker's permissions name every token. Raises Refused for a name that is
    not one token.
    """
    tokens = []
    for token in BY_NAME[message].template.split("."):
        value = values[token[1:-1]] if token.startswith("{") else token
        if not isinstance(value, _Wildcard) and not is_token(value):
            raise _refusal(token[1:-1], value)
        tokens.append(value)
    return ".".join(tokens)


def check_job_id(job_id: str) -> str:
    """The id itself, if it is one. Raises Refused."""
    if not is_ulid(job_id):
        raise refuse("invalid_job_id", f"{job_id[:40]!r} is not a job id (a ULID of 26 letters)")
    return job_id


def _refusal(what: str, value: str) -> Exception:
    code = {"tenant": "invalid_tenant", "job_id": "invalid_job_id", "node": "unknown_node"}
    kind = what.replace("_", " ")
    sentence = f"{value[:40]!r} is not a valid {kind}: use 1 to 63 letters, digits, _ or -"
    return refuse(code.get(what, "invalid_field"), sentence, what)
