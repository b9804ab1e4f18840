"""On which line of a TOML file does each key, table and element stand?

`tomllib` reads values and forgets where they stood; this reads places and forgets values. It wants
a document that `tomllib` has read already, and does not know what any key means.
"""

from __future__ import annotations

import re
import tomllib

Path = tuple[str | int, ...]
"""Keys, and indices of arrays: `("quotas", 3, "weight")`."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL = re.compile(r"'[^'\n]*'")
_LONG_BASIC = re.compile(r'"""(?:[^\\]|\\.)*?"""(?:"{0,2}(?!"))', re.DOTALL)
_LONG_LITERAL = re.compile(r"'''.*?'''(?:'{0,2}(?!'))", re.DOTALL)
_SCALAR = re.compile(r"(?:[0-9-]{10} (?=[0-9]))?[0-9A-Za-z+_.:-]+")
"""A number, a word, or an instant, which may have one space inside."""
_BLANK = re.compile(r"[ \t]*")
_SPACE = re.compile(r"(?:[ \t\n]|#[^\n]*)*")


def lines_of(text: str) -> dict[Path, int]:
    """Counted from 1, as editors do. Of a table or array that several headers or keys speak of, the
    first. Raises ValueError for what is no TOML."""
    return _Reader(text.replace("\r\n", "\n")).read()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line, self._counted = 1, 0
        self._lines: dict[Path, int] = {}
        self._sizes: dict[Path, int] = {}
        """Of arrays of tables: how many headers have spoken of each."""

    def read(self) -> dict[Path, int]:
        table: Path = ()
        self._skip(_SPACE)
        while self._at < len(self._text):
            if self._takes("[["):
                table = self._element(self._keys())
                self._wants("]]")
            elif self._takes("["):
                table = self._table((), self._keys())
                self._wants("]")
            else:
                self._pair(table)
            self._skip(_SPACE)
        return self._lines

    # -- tables
    def _table(self, path: Path, keys: list[str]) -> Path:
        """Where the keys lead from there; each table on the way is noted. Of an array of tables the
        last one is meant."""
        for key in keys:
            path = (*path, key)
            self._note(path)
            if path in self._sizes:
                path = (*path, self._sizes[path] - 1)
        return path

    def _element(self, keys: list[str]) -> Path:
        array = (*self._table((), keys[:-1]), keys[-1])
        self._note(array)
        index = self._sizes.get(array, 0)
        self._sizes[array] = index + 1
        element = (*array, index)
        self._note(element)
        return element

    def _pair(self, table: Path) -> None:
        keys = self._keys()
        self._wants("=")
        self._skip(_BLANK)
        self._value(self._table(table, keys))

    def _note(self, path: Path) -> None:
        if path not in self._lines:
            self._line += self._text.count("\n", self._counted, self._at)
            self._counted = self._at
            self._lines[path] = self._line

    # -- keys and values
    def _keys(self) -> list[str]:
        keys = []
        while True:
            self._skip(_BLANK)
            keys.append(self._key())
            self._skip(_BLANK)
            if not self._takes("."):
                return keys

    def _key(self) -> str:
        quoted = self._match(_BASIC) or self._match(_LITERAL)
        if quoted:
            return str(tomllib.loads(f"key = {quoted}")["key"])
        if bare := self._match(_BARE):
            return bare
        raise self._error("a key")

    def _value(self, path: Path) -> None:
        if self._takes("["):
            self._array(path)
        elif self._takes("{"):
            self._inline(path)
        else:
            for kind in (_LONG_BASIC, _LONG_LITERAL, _BASIC, _LITERAL, _SCALAR):
                if self._match(kind):
                    return
            raise self._error("a value")

    def _array(self, path: Path) -> None:
        index = 0
        self._skip(_SPACE)
        while not self._takes("]"):
            self._note((*path, index))
            self._value((*path, index))
            index += 1
            self._skip(_SPACE)
            if not self._takes(",") and not self._text.startswith("]", self._at):
                raise self._error("a comma or ]")
            self._skip(_SPACE)

    def _inline(self, path: Path) -> None:
        self._skip(_SPACE)
        while not self._takes("}"):
            self._pair(path)
            self._skip(_SPACE)
            if not self._takes(",") and not self._text.startswith("}", self._at):
                raise self._error("a comma or }")
            self._skip(_SPACE)

    # -- letters
    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found.group()

    def _skip(self, pattern: re.Pattern[str]) -> None:
        self._match(pattern)

    def _takes(self, sign: str) -> bool:
        if not self._text.startswith(sign, self._at):
            return False
        self._at += len(sign)
        return True

    def _wants(self, sign: str) -> None:
        if not self._takes(sign):
            raise self._error(sign)

    def _error(self, wanted: str) -> ValueError:
        line = 1 + self._text.count("\n", 0, self._at)
        return ValueError(f"line {line}: expected {wanted}")
