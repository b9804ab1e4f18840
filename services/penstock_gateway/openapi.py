"""How is the HTTP API described to programs?

The OpenAPI 3.1 document, made from the table of operations and the contracts' own types; run as
`python -m penstock_gateway.openapi` it prints it. It does not serve anything.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import msgspec

from penstock_contracts.errors import CODES
from penstock_gateway.errors import STATUS
from penstock_gateway.operations import JSON, OPERATIONS, SSE, Operation, Parameter
from penstock_gateway.payloads import ErrorAnswer

REF = "#/components/schemas/{name}"
COMMON_ERRORS = ("unauthorized", "unavailable")


def openapi_document() -> dict[str, Any]:
    """The document as plain values, in a stable order."""
    types = [t for operation in OPERATIONS for t in _types_of(operation)] + [ErrorAnswer]
    unique = list(dict.fromkeys(types))
    schemas, components = msgspec.json.schema_components(unique, ref_template=REF)
    schema_of = dict(zip(unique, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        described = _operation(operation, schema_of)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Penstock",
            "version": version("penstock"),
            "summary": "The HTTP API of a metered mesh of GPU hosts.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": dict(sorted(components.items())),
        },
    }


def _types_of(operation: Operation) -> Iterable[Any]:
    yield from (t for t in (*operation.bodies, *operation.answers.values()) if t is not None)


def _operation(operation: Operation, schema_of: dict[Any, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [_parameter(parameter) for parameter in operation.parameters],
        "responses": {
            str(operation.status): {
                "description": "Done.",
                "content": {
                    media: {"schema": _schema_of_answer(media, payload, schema_of)}
                    for media, payload in operation.answers.items()
                },
            },
            **_errors(operation, schema_of),
        },
    }
    if operation.bodies:
        schemas = [schema_of[body] for body in operation.bodies]
        described["requestBody"] = {
            "required": operation.body_required,
            "content": {JSON: {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}},
        }
    return described


def _schema_of_answer(media: str, payload: Any, schema_of: dict[Any, Any]) -> dict[str, Any]:
    if payload is None:
        return {"type": "string", "contentMediaType": media}
    if media == SSE:
        return {"type": "string", "contentMediaType": JSON, "contentSchema": schema_of[payload]}
    schema: dict[str, Any] = schema_of[payload]
    return schema


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = (
        {"type": parameter.kind}
        if isinstance(parameter.kind, str)
        else {"type": "string", "enum": list(parameter.kind)}
    )
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.summary,
        "schema": schema,
    }


def _errors(operation: Operation, schema_of: dict[Any, Any]) -> dict[str, Any]:
    """One response per status, naming the codes behind it."""
    by_status: dict[int, list[str]] = {}
    for code in (*operation.errors, *COMMON_ERRORS):
        by_status.setdefault(int(STATUS.get(code, 400)), []).append(code)
    return {
        str(status): {
            "description": " ".join(f"`{code}`: {CODES[code]}" for code in codes),
            "content": {JSON: {"schema": schema_of[ErrorAnswer]}},
        }
        for status, codes in sorted(by_status.items())
    }


def rendered() -> bytes:
    """The document as it stands in docs/openapi.json."""
    return msgspec.json.format(msgspec.json.encode(openapi_document()), indent=2) + b"\n"


if __name__ == "__main__":
    sys.stdout.buffer.write(rendered())
