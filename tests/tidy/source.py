"""Which files does the project consist of, and what stands in them?

Everything that git tracks or would track, read once; Python files also as syntax trees. It does not
know the rules.
"""

from __future__ import annotations

import ast
import gc
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("inventory", "scheduler", "node_agent", "metering", "gateway")
PRODUCT = ("libs/", "services/")
GENERATED = ("constraints.txt", "docs/asyncapi.json", "docs/openapi.json", "LICENSE")


class Module(NamedTuple):
    """One Python file: `path` is relative to the root, with forward slashes."""

    path: str
    text: str
    tree: ast.Module

    @property
    def is_product(self) -> bool:
        return self.path.startswith(PRODUCT)

    @property
    def is_core(self) -> bool:
        return "/core/" in self.path


@cache
def files() -> tuple[str, ...]:
    """Tracked files and new ones that are not ignored, as paths relative to the root."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    names = sorted(set(listing.stdout.split("\0")) - {""})
    return tuple(name for name in names if (ROOT / name).is_file())


@cache
def texts() -> dict[str, str]:
    """Every text file by its path; what is not UTF-8 is not text."""
    found = {}
    for name in files():
        try:
            found[name] = (ROOT / name).read_text("utf-8")
        except UnicodeDecodeError:
            continue
    return found


@cache
def modules() -> tuple[Module, ...]:
    gc.disable()  # half a million nodes that stay: looking through them takes longer than reading
    try:
        return tuple(
            Module(name, text, ast.parse(text, filename=name))
            for name, text in texts().items()
            if name.endswith(".py")
        )
    finally:
        gc.freeze()
        gc.enable()


def product() -> Iterator[Module]:
    return (module for module in modules() if module.is_product)


def suite() -> Iterator[Module]:
    return (module for module in modules() if module.path.startswith("tests/"))


def dotted(node: ast.AST) -> str:
    """`time.sleep` for such an expression, "" for anything that is not a dotted name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        prefix = dotted(node.value)
        return f"{prefix}.{node.attr}" if prefix else ""
    return ""


def imports(module: Module) -> Iterator[tuple[int, str]]:
    """Line and full name of each module that is imported anywhere in the file."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")


def report(problems: list[str]) -> str:
    return f"{len(problems)} place(s):\n  " + "\n  ".join(problems)
