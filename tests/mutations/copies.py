"""How does a copy of the product with a bug in it come to be?

Copies the sources and the tests aside and plants the bug there; whoever runs Python with the copy's
environment imports the copy and nothing of the original. It does not know what is run.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.mutations.mutation import Mutation, mutate

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("libs", "services")
TREES = (*SOURCES, "tests")
HALF_WRITTEN = shutil.ignore_patterns("*.pyc.*")
"""Compiled code comes along, so that it need not be compiled again for each copy."""


def copy_with(mutation: Mutation, directory: Path) -> Path:
    """Returns the copy's root, below `directory`. Raises Misplaced."""
    copy = directory / "copy"
    for tree in TREES:
        shutil.copytree(ROOT / tree, copy / tree, ignore=HALF_WRITTEN)
    file = copy / mutation.file
    for compiled in file.parent.glob(f"__pycache__/{file.stem}.*"):
        compiled.unlink()
    file.write_text(mutate(file.read_text("utf-8"), mutation), "utf-8")
    return copy


def environment_of(copy: Path) -> dict[str, str]:
    """For Python started in the copy: its sources stand before any that are installed."""
    path = os.pathsep.join(str(copy / tree) for tree in SOURCES)
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
