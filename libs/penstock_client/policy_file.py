"""What does an operator's file say of the queue, and on which line is it wrong?

A TOML file becomes the contract's policy, or every fault in it with its line, its rule and the
field as the file calls it. It does not know the policy that holds.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

import msgspec

from penstock_client.policy_fields import FIELDS, PARTS, TOP, Field
from penstock_client.toml_lines import Path, lines_of
from penstock_contracts.queue_faults import policy_faults
from penstock_contracts.queue_policy import PolicyFault, QueuePolicy

FILE_BYTES_MAX = 4 * 1024 * 1024
_AT_LINE = re.compile(r" \(at line ([0-9]+), column [0-9]+\)$")
_SHOWN_MAX = 60


class FileFault(msgspec.Struct, frozen=True, kw_only=True):
    """`line` counts from 1; `field` is the path of it in the file: `quotas[3].weight`."""

    line: int
    code: str
    sentence: str
    field: str = ""


class PolicyFileError(Exception):
    """The file is no policy; `faults` by line, one at least."""

    def __init__(self, faults: tuple[FileFault, ...]) -> None:
        super().__init__("\n".join(f"{fault.line}: {fault.sentence}" for fault in faults))
        self.faults = faults


def read_policy(
    data: bytes, node_labels: Mapping[str, Mapping[str, str]] | None = None
) -> QueuePolicy:
    """The policy that the file states. `node_labels` as for `policy_faults`. Raises
    PolicyFileError."""
    document, lines = _document(data)
    reading = _Reading(lines)
    policy = reading.policy(document)
    if not reading.faults:
        reading.faults = [reading.placed(one) for one in policy_faults(policy, node_labels)]
    if reading.faults:
        raise PolicyFileError(tuple(sorted(reading.faults, key=lambda fault: fault.line)))
    return policy


def _document(data: bytes) -> tuple[dict[str, Any], dict[Path, int]]:
    if len(data) > FILE_BYTES_MAX:
        raise _one_fault(1, "policy_too_large", f"the file is over {FILE_BYTES_MAX} bytes")
    try:
        text = data.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        raise _one_fault(line, "malformed_toml", "this is not UTF-8") from error
    try:
        return tomllib.loads(text, parse_float=Decimal), lines_of(text)
    except tomllib.TOMLDecodeError as error:
        at = _AT_LINE.search(str(error))
        line = int(at.group(1)) if at else text.rstrip("\n").count("\n") + 1
        sentence = f"this is not TOML: {_AT_LINE.sub('', str(error))}"
        raise _one_fault(line, "malformed_toml", sentence) from error
    except RecursionError as error:
        raise _one_fault(1, "malformed_toml", "it is nested too deeply") from error


def _one_fault(line: int, code: str, sentence: str) -> PolicyFileError:
    return PolicyFileError((FileFault(line=line, code=code, sentence=sentence),))


class _Reading:
    """Collects faults on its way. What is at fault is left out of what comes of it."""

    def __init__(self, lines: dict[Path, int]) -> None:
        self._lines = lines
        self.faults: list[FileFault] = []

    def policy(self, document: dict[str, Any]) -> QueuePolicy:
        parts: dict[str, Any] = {}
        for part in PARTS:
            given = document.pop(part, [])
            if isinstance(given, list) and all(isinstance(one, dict) for one in given):
                parts[part] = tuple(self._entries(part, given))
            else:
                self._fault((part,), f"{part} are tables: write [[{part}]] above each")
        own = self._fields(TOP, (), document)
        return QueuePolicy(**parts, **own)

    def _entries(self, part: str, given: list[dict[str, Any]]) -> Iterator[Any]:
        kind, most = PARTS[part]
        if len(given) > most:
            self._fault((part, most), f"{len(given)} {part}; at most {most} are taken")
        for index, table in enumerate(given[:most]):
            faults = len(self.faults)
            fields = self._fields(FIELDS[part], (part, index), table)
            if len(self.faults) == faults:
                yield kind(**fields)

    def _fields(self, known: dict[str, Field], at: Path, table: dict[str, Any]) -> dict[str, Any]:
        """By the contract's names."""
        found: dict[str, Any] = {}
        for name, value in table.items():
            field = known.get(name)
            if field is None:
                self._unknown((*at, name), name, (*known, *(() if at else PARTS)))
                continue
            try:
                found[field.name] = field.read(value)
            except ValueError:
                sentence = f"{name} = {_shown(value)} is not {field.rule}"
                self._fault((*at, name), sentence)
        for name, field in known.items():
            if field.required and name not in table:
                self._fault(at, f"{name} is missing; it is {field.rule}")
        return found

    def _unknown(self, path: Path, name: str, known: tuple[str, ...]) -> None:
        near = get_close_matches(name, known, n=1)
        said = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(known))}"
        self._fault(path, f"there is no field {name[:_SHOWN_MAX]!r} here; {said}")

    def _fault(self, path: Path, sentence: str) -> None:
        self.faults.append(
            FileFault(
                line=self._line(path), code="invalid_field", sentence=sentence, field=_text(path)
            )
        )

    def placed(self, fault: PolicyFault) -> FileFault:
        """A fault of the policy, where the file says what is at fault; else at its entry."""
        path: Path = (fault.part, fault.index) if fault.part else ()
        names = FIELDS[fault.part] if fault.part else TOP
        for name, field in names.items():
            if field.name == fault.field:
                path = (*path, name)
        line = self._line(path)
        return FileFault(line=line, code=fault.code, sentence=fault.sentence, field=_text(path))

    def _line(self, path: Path) -> int:
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)


def _text(path: Path) -> str:
    """`quotas[3].weight`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _shown(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…"
