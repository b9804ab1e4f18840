"""Which jobs does a file describe?

Reads YAML or JSON, several documents allowed; each is a job, a list of jobs, or `{jobs: [...]}`.
Unlike the wire, where unknown fields are left alone, a file with a misspelt field is refused. It
does not submit anything.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import msgspec

from penstock_client.failures import refuse
from penstock_contracts.asks import Alternative
from penstock_contracts.jobs import JobSpec
from penstock_contracts.work import Container, Input, Mount, Output, Secret

FILE_BYTES_MAX = 64 * 1024 * 1024
PARTS: dict[str, type] = {
    "alternatives": Alternative,
    "container": Container,
    "mounts": Mount,
    "inputs": Input,
    "outputs": Output,
    "secrets": Secret,
}
"""Fields that hold objects, or lists of them, with fields of their own."""
TENANT = "tenant"


def read_jobs(text: str, new_id: Callable[[], str]) -> list[tuple[str | None, JobSpec]]:
    """(tenant or None, job) in the order of the file; a job without `job_id` gets one.

    Raises Refused with the place in the file.
    """
    found: list[tuple[str | None, JobSpec]] = []
    for tenant, entry, where in _entries(_documents(text)):
        found.append(_job(tenant, entry, where, new_id))
    if not found:
        raise refuse("invalid_field", "the file describes no job")
    return found


def _documents(text: str) -> list[Any]:
    try:
        return [msgspec.json.decode(text)]
    except msgspec.DecodeError:
        pass  # several documents, or YAML
    except RecursionError as error:
        raise refuse("malformed_json", "the file is nested too deeply") from error
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return [document for document in yaml.load_all(text, loader) if document is not None]
    except (yaml.YAMLError, RecursionError) as error:
        raise refuse("malformed_json", f"neither JSON nor YAML: {error}") from error


def _entries(documents: list[Any]) -> list[tuple[str | None, Any, str]]:
    entries: list[tuple[str | None, Any, str]] = []
    for number, document in enumerate(documents, 1):
        where = f"document {number}" if len(documents) > 1 else ""
        tenant, jobs = None, document
        if isinstance(document, dict) and "jobs" in document:
            extra = sorted(map(str, document.keys() - {"jobs", TENANT}))
            if extra:
                raise refuse("invalid_field", f"unknown field {extra[0]!r} beside jobs", where)
            tenant, jobs = document.get(TENANT), document["jobs"]
        if isinstance(jobs, list):
            prefix = f"{where} " if where else ""
            entries += [(tenant, job, f"{prefix}jobs[{i}]") for i, job in enumerate(jobs)]
        else:
            entries.append((tenant, jobs, where))
    return entries


def _job(
    tenant: str | None, entry: Any, where: str, new_id: Callable[[], str]
) -> tuple[str | None, JobSpec]:
    if not isinstance(entry, dict):
        raise refuse("invalid_field", "a job is a mapping with at least `command`", where)
    fields = dict(entry)
    tenant = fields.pop(TENANT, tenant)
    if tenant is not None and not isinstance(tenant, str):
        raise refuse("invalid_tenant", "tenant must be a name", where)
    _check_names(fields, JobSpec, where)
    if isinstance(fields.get("command"), str):
        raise refuse(
            "invalid_field",
            'command is a list of arguments; for a shell line write ["sh", "-c", "..."]',
            where,
        )
    fields.setdefault("job_id", new_id())
    try:
        return tenant, msgspec.convert(fields, JobSpec)
    except msgspec.ValidationError as error:
        raise refuse("invalid_field", str(error), where) from error


def _check_names(fields: dict[str, Any], kind: type, where: str) -> None:
    """A name that is not known would say nothing, and nobody would notice."""
    known = tuple(field.name for field in msgspec.structs.fields(kind))
    for name in map(str, fields):
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise refuse("invalid_field", f"unknown field {name!r}{hint}", where)
    for name, part in PARTS.items():
        inside = fields.get(name)
        for one in inside if isinstance(inside, list) else [inside]:
            if isinstance(one, dict) and name in known:
                _check_names(one, part, f"{where} {name}".strip())
