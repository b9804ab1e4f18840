"""Can every bug of the table still be planted?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutations.copies import ROOT, SOURCES, copy_with, environment_of
from tests.mutations.mutation import Misplaced, Mutation, mutate
from tests.mutations.table import FAST, MUTATIONS

MUTATIONS_MIN = 25
FAST_COUNT = 5


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_the_text_of_a_mutation_stands_once_and_its_replacement_compiles(
    mutation: Mutation,
) -> None:
    """After a change of that place, plant the same mistake in what stands there now."""
    text = (ROOT / mutation.file).read_text("utf-8")
    compile(mutate(text, mutation), mutation.file, "exec")


def test_there_are_enough_bugs_and_each_has_a_name_of_its_own() -> None:
    names = [mutation.name for mutation in MUTATIONS]
    assert len(names) >= MUTATIONS_MIN
    assert len(set(names)) == len(names)
    assert len(FAST) == FAST_COUNT


@pytest.mark.parametrize("text", ["", "old old"])
def test_a_mutation_is_refused_where_its_text_does_not_stand_once(text: str) -> None:
    mutation = Mutation(name="x", file="x.py", old="old", new="new", breaks="nothing")
    with pytest.raises(Misplaced):
        mutate(text, mutation)


def test_python_in_a_copy_imports_the_copy(tmp_path: Path) -> None:
    copy = copy_with(MUTATIONS[0], tmp_path)
    packages = sorted(path.name for tree in SOURCES for path in (copy / tree).iterdir())
    program = (
        "import importlib\n"
        f"for name in {packages!r} + ['tests.checkers']:\n"
        "    print(importlib.import_module(name).__file__)\n"
    )
    done = subprocess.run(
        (sys.executable, "-c", program),
        cwd=copy, env=environment_of(copy), capture_output=True, text=True, check=True,
    )  # fmt: skip
    files = done.stdout.splitlines()
    assert len(files) == len(packages) + 1
    assert all(file.startswith(f"{copy}/") for file in files)
