"""Do contracts and cores import only what is listed, and can every dependency rule fail?

import-linter bans by name and lets through what its list forgot; here stands the list of what is
allowed. It does not repeat import-linter's rules: it proves that each of them notices a breach.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tidy.source import ROOT, Module, imports, product, report, texts

PURE_STANDARD_LIBRARY = {
    "__future__",
    "abc",
    "array",
    "bisect",
    "collections",
    "dataclasses",
    "enum",
    "fractions",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "math",
    "operator",
    "re",
    "struct",
    "types",
    "typing",
}
DOCUMENT_WRITER = "libs/penstock_contracts/documents.py"
"""Run by `make docs`, imported by no product code."""
ALSO_IN_CORE = {"penstock_scheduler": {"numpy", "numba"}, "penstock_metering": {"numpy"}}

# A module that must not import, what it must not import, and the rule that says so.
BREACHES = [
    ("penstock_contracts", "penstock_bus", "The contracts know msgspec"),
    ("penstock_contracts", "sqlalchemy", "The contracts know msgspec"),
    ("penstock_bus", "penstock_runtime", "The bus and the runtime know contracts"),
    ("penstock_runtime", "penstock_scheduler", "Libraries know no service"),
    ("penstock_client", "penstock_inventory", "Client and mesh know"),
    ("penstock_mesh", "penstock_runtime", "Client and mesh know"),
    ("penstock_client", "penstock_mesh", "The client does not know the mesh"),
    ("penstock_gateway", "penstock_metering", "No service knows another"),
    ("penstock_node_agent", "penstock_client", "Of the services only the gateway"),
    ("penstock_gateway", "penstock_mesh", "No service knows the mesh"),
    ("penstock_scheduler.core", "time", "A core reads no clock"),
    ("penstock_inventory.core", "asyncio", "A core reads no clock"),
    ("penstock_metering.core", "penstock_bus", "A core reads no clock"),
    ("penstock_client", "nats", "Only the bus knows"),
]


def allowed_in(module: Module) -> set[str] | None:
    """Top-level names that the module may import; None where there is no such list."""
    if module.path == DOCUMENT_WRITER:
        return None
    if module.path.startswith("libs/penstock_contracts/"):
        return PURE_STANDARD_LIBRARY | {"msgspec", "penstock_contracts"}
    if module.is_core and module.path.startswith("services/"):
        service = module.path.split("/")[1]
        own = {"msgspec", "penstock_contracts", f"{service}.core"} | ALSO_IN_CORE.get(
            service, set()
        )
        return PURE_STANDARD_LIBRARY | own
    return None


def test_no_product_code_imports_what_writes_the_documents() -> None:
    name = "penstock_contracts.documents"
    assert [m.path for m in product() if name in {found for _, found in imports(m)}] == []


def test_contracts_and_cores_import_only_what_is_pure() -> None:
    problems = []
    for module in product():
        allowed = allowed_in(module)
        if allowed is None:
            continue
        for line, name in imports(module):
            known = any(name == one or name.startswith(one + ".") for one in allowed)
            if not known and not name.startswith("."):
                problems.append(f"{module.path}:{line}: {name} is not on the list")
    assert not problems, report(problems)


def settings() -> dict[str, Any]:
    linter: dict[str, Any] = tomllib.loads(texts()["pyproject.toml"])["tool"]["importlinter"]
    return linter


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages reduced to one empty module each, under the project's own rules."""
    root = tmp_path_factory.mktemp("packages")
    shutil.copy(ROOT / "pyproject.toml", root)
    for package in settings()["root_packages"]:
        (root / package / "core").mkdir(parents=True)
        (root / package / "__init__.py").touch()
        (root / package / "core" / "__init__.py").touch()
    return root


def lint(root: Path) -> str:
    code = "import sys; from importlinter.cli import lint_imports_command as c; c()"
    result = subprocess.run(
        [sys.executable, "-c", code, "--no-cache", "--no-logo"],
        cwd=root,
        env={"PYTHONPATH": str(root), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout


def test_the_rules_hold_where_nothing_is_imported(copy: Path) -> None:
    assert " 0 broken" in lint(copy)


@pytest.mark.parametrize(("importer", "imported", "rule"), BREACHES)
def test_each_dependency_rule_notices_a_breach(
    copy: Path, importer: str, imported: str, rule: str
) -> None:
    file = copy / importer.replace(".", "/") / "breach.py"
    file.write_text(f"import {imported}\n")
    output = lint(copy)
    file.unlink()
    broken = [line for line in output.splitlines() if line.endswith(" BROKEN")]
    assert any(line.startswith(rule) for line in broken), output


def test_every_dependency_rule_has_a_breach_to_prove_it() -> None:
    rules = [rule["name"] for rule in settings()["contracts"]]
    unproven = [r for r in rules if not any(r.startswith(rule) for _, _, rule in BREACHES)]
    assert not unproven
