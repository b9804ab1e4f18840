"""Does every file say what it is for, and keep to itself what belongs elsewhere?"""

from __future__ import annotations

import ast
import re
from pathlib import PurePosixPath

import pytest

from tidy.source import GENERATED, ROOT, SERVICES, files, modules, report, texts

# Names that say nothing about the question which a file answers.
EMPTY_NAMES = re.compile(r"(^|_)(utils?|managers?|helpers?|common|misc|base|stuff)($|_)")

# Words that begin a promise instead of a fact, written so that this line is none.
PROMISES = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")

# What is true on one machine or in one network only.
PLACES = re.compile(
    r"/wo" r"rk/|/ro" r"ot/|/tmp/br" r"ief|/home/\w|/opt/(py" r"pi|wheels)|/Us" r"ers/\w"
    r"|py" r"pi\.org|pythonho" r"sted|npm" r"js\.|crates\.i" r"o|proxy\.go" r"lang|deb\.deb" r"ian"
)  # fmt: skip


def test_every_module_opens_with_the_question_it_answers() -> None:
    problems = []
    for module in modules():
        if module.path.startswith("tests/") and module.path.endswith("__init__.py"):
            continue
        first = (ast.get_docstring(module.tree) or "").split("\n")[0]
        if "?" not in first and not first.endswith("."):
            problems.append(
                f"{module.path}: its first docstring line must ask or answer a question"
            )
    assert not problems, report(problems)


def test_every_module_is_named_after_what_it_holds() -> None:
    problems = [
        f"{path}: {part} says nothing about its content"
        for path in files()
        for part in (*PurePosixPath(path).parts[:-1], PurePosixPath(path).stem)
        if EMPTY_NAMES.search(part)
    ]
    assert not problems, report(problems)


def test_nothing_is_promised_for_later() -> None:
    check_absent(PROMISES, "do it or file an issue")


def test_nothing_names_a_place_that_only_one_machine_has() -> None:
    check_absent(PLACES, "a path or host of one machine or network")


def check_absent(pattern: re.Pattern[str], sentence: str) -> None:
    problems = []
    for path, text in texts().items():
        if path in GENERATED:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if found := pattern.search(line):
                problems.append(f"{path}:{number}: {found.group()}: {sentence}")
    assert not problems, report(problems)


def test_every_folder_of_tests_is_a_package() -> None:
    folders = {str(PurePosixPath(p).parent) for p in files() if p.startswith("tests/")} - {"tests"}
    missing = [f for f in sorted(folders) if not (ROOT / f / "__init__.py").exists()]
    with_python = [f for f in missing if list((ROOT / f).glob("*.py"))]
    assert not with_python, (
        f"two test files of one name would clash; add __init__.py: {with_python}"
    )


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_the_same_skeleton(service: str) -> None:
    folder = f"services/penstock_{service}"
    expected = ["__init__.py", "__main__.py", "command.py", "config.py", "service.py", "README.md"]
    missing = [name for name in expected if f"{folder}/{name}" not in files()]
    assert not missing, f"{folder} lacks {missing}"


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_says_what_it_consumes_emits_and_keeps_true(service: str) -> None:
    text = texts()[f"services/penstock_{service}/README.md"].lower()
    missing = [word for word in ("consumes", "emits", "invariants") if word not in text]
    assert not missing, f"the README of {service} does not say {missing}"


def test_the_architecture_document_can_be_read_at_one_go() -> None:
    lines = texts()["ARCHITECTURE.md"].count("\n")
    assert lines <= 250, f"ARCHITECTURE.md has {lines} lines, at most 250"


def test_continuous_integration_runs_the_commands_of_the_readme() -> None:
    steps = re.findall(r"^step \d+ (.+)$", texts()[".ci/run"], re.MULTILINE)
    assert steps, ".ci/run has no steps"
    missing = [step for step in steps if step not in texts()["README.md"]]
    assert not missing, f"README.md does not name {missing}"
