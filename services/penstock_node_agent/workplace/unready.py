"""Why can what a job needs around its command not be had?

It does not know who finds out.
"""

from __future__ import annotations

JOB = "job"
NODE = "node"


class Unready(Exception):
    """`blame`: `job` (what it names is not there or not as it says) or `node` (it may be elsewhere
    or later)."""

    def __init__(self, code: str, message: str, blame: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.blame = code, message, blame
