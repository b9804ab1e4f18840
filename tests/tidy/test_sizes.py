"""Is every file, function and line small enough to be read at one go?"""

from __future__ import annotations

import ast

from tidy.source import GENERATED, modules, report, texts

FILE_LINES_MAX = 300
FUNCTION_LINES_MAX = 70
LINE_COLUMNS_MAX = 100

# Path and the lines it may have, each with the reason why dividing it would make it worse.
LONGER_FILES: dict[str, int] = {}

# Prose is wrapped by its reader; a link or a table row cannot be.
FREE_WIDTH = (".md", ".json", ".svg", ".lock")


def test_no_python_file_is_longer_than_one_can_hold_in_mind() -> None:
    problems = []
    for module in modules():
        lines, most = module.text.count("\n"), LONGER_FILES.get(module.path, FILE_LINES_MAX)
        if lines > most:
            problems.append(f"{module.path}: {lines} lines, at most {most}: divide it")
    assert not problems, report(problems)


def test_every_exception_for_a_long_file_is_still_needed() -> None:
    lines = {path: texts()[path].count("\n") for path in LONGER_FILES}
    short = [path for path, count in lines.items() if count <= FILE_LINES_MAX]
    assert not short, f"drop these exceptions: {short}"


def test_no_function_is_longer_than_one_screen() -> None:
    problems = []
    for module in modules():
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                problems.append(
                    f"{module.path}:{node.lineno}: {node.name} has {lines} lines, "
                    f"at most {FUNCTION_LINES_MAX}: name its parts"
                )
    assert not problems, report(problems)


def test_no_line_is_wider_than_the_limit() -> None:
    problems = [
        f"{path}:{number}: {len(line)} columns, at most {LINE_COLUMNS_MAX}"
        for path, text in texts().items()
        if path not in GENERATED and not path.endswith(FREE_WIDTH)
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > LINE_COLUMNS_MAX
    ]
    assert not problems, report(problems)
