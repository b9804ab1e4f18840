"""Does the code avoid the calls that have a better replacement here?"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator

from tidy.source import Module, dotted, imports, modules, product, report, suite

Found = Iterator[tuple[int, str]]

# Called by this dotted name in product code, and what to write instead.
BANNED_CALLS = {
    "time.sleep": "await an event with a timeout; in a process without a loop, poll a descriptor",
    "datetime.now": "time.time_ns() in the shell, passed on as now_ns",
    "datetime.utcnow": "time.time_ns() in the shell, passed on as now_ns",
    "datetime.today": "time.time_ns() in the shell, passed on as now_ns",
    "datetime.datetime.now": "time.time_ns() in the shell, passed on as now_ns",
    "datetime.datetime.utcnow": "time.time_ns() in the shell, passed on as now_ns",
    "date.today": "time.time_ns() in the shell, passed on as now_ns",
    "asyncio.create_subprocess_exec": "os.posix_spawn with a pidfd: three times as fast",
    "asyncio.create_subprocess_shell": "os.posix_spawn with a pidfd, and no shell",
    "asyncio.get_event_loop": "asyncio.get_running_loop()",
    "os.system": "os.posix_spawn, and no shell",
    "os.popen": "os.posix_spawn, and no shell",
    "eval": "a parser",
    "exec": "a function",
    "pickle.loads": "msgspec",
}

# (path, call): why this one place may call it all the same.
ALLOWED_CALLS: dict[tuple[str, str], str] = {}

# Printing is what the command line is for, and all that the reaper has; a service logs.
PRINTS = re.compile(r"^libs/penstock_client/|/command\.py$|^services/penstock_node_agent/reaper/")

# Only msgspec encodes and decodes, except where the standard library must suffice (the reaper) or
# where people read the result.
USES_JSON = re.compile(
    r"^services/penstock_node_agent/reaper"
    r"|^libs/penstock_(contracts/documents\.py|client/commands/)"
)

EVERYTHING = {"Exception", "BaseException"}


def check(where: Iterable[Module], find: Callable[[Module], Found]) -> None:
    problems = [
        f"{module.path}:{line}: {sentence}" for module in where for line, sentence in find(module)
    ]
    assert not problems, report(problems)


def calls(module: Module) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            yield node, dotted(node.func)


def takes_everything(types: list[ast.expr]) -> bool:
    names = {dotted(part) for one in types for part in ast.walk(one)}
    return bool(names & EVERYTHING)


def test_product_code_makes_no_banned_call() -> None:
    def find(module: Module) -> Found:
        for node, name in calls(module):
            if name in BANNED_CALLS and (module.path, name) not in ALLOWED_CALLS:
                yield node.lineno, f"{name}: use {BANNED_CALLS[name]}"

    check(product(), find)


def test_every_allowed_call_is_still_made() -> None:
    made = {(module.path, name) for module in product() for _, name in calls(module)}
    unused = [f"{path}: {name}" for path, name in ALLOWED_CALLS if (path, name) not in made]
    assert not unused, f"drop these exceptions: {unused}"


def test_no_service_prints() -> None:
    def find(module: Module) -> Found:
        for node, name in calls(module):
            if name == "print" and not PRINTS.search(module.path):
                yield node.lineno, "print: use logging with extra={...}"

    check(product(), find)


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """Without functions defined inside: a writer that backs off there may wait."""
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from own_nodes(child)


def test_no_test_sleeps() -> None:
    def find(module: Module) -> Found:
        for function in ast.walk(module.tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if not function.name.startswith("test_"):
                continue
            for node in own_nodes(function):
                if isinstance(node, ast.Call) and dotted(node.func).endswith("sleep"):
                    zero = isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
                    if not zero:
                        yield node.lineno, "sleep: wait for the event, or use `eventually`"

    check(suite(), find)


def test_no_exception_is_swallowed() -> None:
    def find(module: Module) -> Found:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ExceptHandler):
                idle = all(isinstance(s, ast.Pass | ast.Continue) for s in node.body)
                if node.type is None:
                    yield node.lineno, "bare except: name what may happen here"
                elif idle and takes_everything([node.type]):
                    yield node.lineno, "except Exception: pass: name the type, or let it crash"
        for call, name in calls(module):
            if name.endswith("suppress") and takes_everything(call.args):
                yield call.lineno, "suppress(Exception): name the type, or let it crash"

    check(modules(), find)


def test_product_code_raises_an_invariant_error_instead_of_assert() -> None:
    def find(module: Module) -> Found:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Assert):
                yield node.lineno, "assert vanishes under -O: raise InvariantError"

    check(product(), find)


def test_product_code_speaks_json_by_msgspec_only() -> None:
    def find(module: Module) -> Found:
        for line, name in imports(module):
            if name in ("json", "orjson", "ujson") and not USES_JSON.search(module.path):
                yield line, f"{name}: use msgspec.json"

    check(product(), find)


def test_no_command_goes_through_a_shell() -> None:
    def find(module: Module) -> Found:
        for node, _ in calls(module):
            for keyword in node.keywords:
                value = keyword.value
                if keyword.arg == "shell" and isinstance(value, ast.Constant) and value.value:
                    yield node.lineno, "shell=True: pass the arguments as a list"

    check(modules(), find)


def test_every_skipped_test_says_why() -> None:
    def find(module: Module) -> Found:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and dotted(node) == "pytest.mark.skip":
                called = any(c.func is node and (c.args or c.keywords) for c, _ in calls(module))
                if not called:
                    yield node.lineno, "skip without a reason"
            elif isinstance(node, ast.Call) and dotted(node.func).endswith(("mark.skipif", "skip")):
                named = {keyword.arg for keyword in node.keywords} & {"reason", "msg"}
                positional = len(node.args) >= (2 if dotted(node.func).endswith("skipif") else 1)
                if dotted(node.func).startswith("pytest") and not named and not positional:
                    yield node.lineno, "skip without a reason"

    check(suite(), find)


def test_every_silenced_check_names_what_it_silences() -> None:
    blanket = re.compile(r"#\s*(type:\s*ignore(?!\[)|noqa(?!:\s*[A-Z]))")

    def find(module: Module) -> Found:
        for number, line in enumerate(module.text.splitlines(), 1):
            if blanket.search(line) and "blanket" not in line:
                yield number, "name the rule: type: ignore[code], noqa: CODE"

    check(modules(), find)
