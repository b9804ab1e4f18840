"""Which questions about money does metering answer?

A table of what may be asked: each answered from one read transaction, once all that had arrived
when the question came is committed and derived. It does not know how questions come in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa

LookUp = Callable[[sa.Connection, Any, int], Any]
"""(connection, question, now_ms) → what is answered, or a Refusal."""


class Question(msgspec.Struct, frozen=True):
    payload: type
    look_up: LookUp


MONEY_QUESTIONS: dict[str, Question] = {}
