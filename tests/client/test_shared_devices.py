"""Is a part of a GPU ever offered without saying what it is worth?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock_client.commands.run import run
from penstock_contracts.documents import documents

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.lesson(17)
def test_the_command_line_calls_a_part_of_a_gpu_shared_and_best_effort() -> None:
    shown = " ".join(CliRunner().invoke(run, ["--help"]).output.split())
    _, _, option = shown.partition("--gpu-milli")
    assert "shared, best effort" in option[:90]


@pytest.mark.lesson(17)
@pytest.mark.parametrize("name", ["asyncapi.json", "openapi.json"])
def test_the_documents_of_the_wire_do_so_too(name: str) -> None:
    text = documents().get(name) or (DOCS / name).read_text("utf-8")
    schema = json.loads(text)["components"]["schemas"]["JobSpec"]
    assert "shared, best effort" in schema["description"]
