"""Are the generated documents what the contracts say today?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock_contracts.documents import documents

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", sorted(documents()))
def test_a_generated_document_is_in_step_with_the_contracts(name: str) -> None:
    committed = (DOCS / name).read_text(encoding="utf-8")
    assert committed == documents()[name], f"docs/{name} is stale: run `make docs`"


def test_every_reference_in_the_asyncapi_document_leads_somewhere() -> None:
    document = json.loads(documents()["asyncapi.json"])

    def resolve(reference: str) -> None:
        place = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]

    def walk(value: object) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                resolve(value["$ref"])
            for child in value.values():
                walk(child)
        elif isinstance(value, list):
            for child in value:
                walk(child)

    walk(document)
