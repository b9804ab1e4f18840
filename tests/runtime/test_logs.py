"""Is every log record one JSON object a line?"""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from penstock_runtime.logs import JsonFormatter


def lines_of(log_something: Any) -> list[dict[str, Any]]:
    """What a logger with our formatter writes, decoded."""
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Collect()
    handler.setFormatter(JsonFormatter("inventory"))
    logger = logging.Logger("test", logging.DEBUG)
    logger.addHandler(handler)
    log_something(logger)
    if any("\n" in line for line in lines):
        pytest.fail(f"a line feed inside a line: {lines}")
    return [json.loads(line) for line in lines]


def test_a_record_has_time_level_service_and_message() -> None:
    [line] = lines_of(lambda logger: logger.warning("node %s is silent", "n1"))
    assert list(line) == ["ts", "level", "service", "msg"]
    assert (line["level"], line["service"]) == ("warning", "inventory")
    assert line["msg"] == "node n1 is silent"
    assert line["ts"].endswith("+00:00")


def test_the_ids_that_the_caller_passes_are_fields_of_the_object() -> None:
    ids = {"job": "01J", "attempt": 2, "trace_id": "4bf9", "path": object}
    [line] = lines_of(lambda logger: logger.info("started", extra=ids))
    assert (line["job"], line["attempt"], line["trace_id"]) == ("01J", 2, "4bf9")
    assert line["path"] == str(object)


def test_a_message_over_two_lines_and_a_traceback_stay_on_one_line() -> None:
    def fail(logger: logging.Logger) -> None:
        try:
            raise ValueError("first\nsecond")
        except ValueError:
            logger.exception("it\nfailed")

    [line] = lines_of(fail)
    assert line["msg"] == "it\nfailed"
    assert "ValueError: first\nsecond" in line["error"]
