"""Does whatever stands in a table end in a run or in a sentence?"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from packing.traces import JOB_HEAD, JOB_LINES, NODE_HEAD, NODE_LINES
from penstock_scheduler.simulate.command import command

EXAMPLES = 200
NODE_TABLE = "\n".join((NODE_HEAD, *NODE_LINES, "")).encode()
JOB_TABLE = "\n".join(
    (
        f"{JOB_HEAD},creation_time,deletion_time",
        *(f"{line},{i},{i + 9}" for i, line in enumerate(JOB_LINES)),
        "",
    )
).encode()
PIECES = st.sampled_from(
    [b"", b",", b"\n", b"\r", b'"', b"\0", b"\xff", b"-1", b"0", b"9" * 30, b"1e9", b"|", b"A100"]
)
NUMBERS = st.sampled_from([b"0", b"1", b"2", b"999", b"1000", b"1000000000", b"99999", b"62"])
SENTENCE = re.compile(r"penstock: [a-z_]+: .+\n", re.DOTALL)


def edited(table: bytes) -> st.SearchStrategy[bytes]:
    """The table with other fields, with cuts and insertions, or anything at all."""
    lines = table.splitlines()

    def replace(changes: list[tuple[int, int, bytes]]) -> bytes:
        rows = [line.split(b",") for line in lines]
        for row, column, piece in changes:
            rows[row][column % len(rows[row])] = piece
        return b"\n".join(b",".join(row) for row in rows)

    def edit(changes: list[tuple[int, int, bytes]]) -> bytes:
        found = table
        for at, length, piece in changes:
            start = at % (len(found) + 1)
            found = found[:start] + piece + found[start + length :]
        return found

    rows = st.sampled_from([*range(1, len(lines))] * 3 + [0])
    field = st.tuples(rows, st.integers(0, 7), PIECES | NUMBERS)
    change = st.tuples(st.integers(0, len(table)), st.integers(0, 12), PIECES)
    return st.one_of(
        st.lists(field, min_size=1, max_size=3).map(replace),
        st.lists(field, min_size=1, max_size=3).map(replace),
        st.lists(change, max_size=4).map(edit),
        st.binary(max_size=200),
    )


TABLES = st.one_of(
    st.tuples(st.just(NODE_TABLE), edited(JOB_TABLE)),
    st.tuples(edited(NODE_TABLE), st.just(JOB_TABLE)),
    st.tuples(edited(NODE_TABLE), edited(JOB_TABLE)),
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.sampled_from(["placement", "replay"]),
    st.sampled_from(["list", "online"]),
    TABLES,
)
def test_every_table_is_used_or_refused(
    what: str, workload: str, tables: tuple[bytes, bytes]
) -> None:
    node_table, job_table = tables
    with tempfile.TemporaryDirectory() as name:
        nodes, jobs = Path(name) / "nodes.csv", Path(name) / "jobs.csv"
        nodes.write_bytes(node_table)
        jobs.write_bytes(job_table)
        arguments = [what, "--nodes", str(nodes), "--jobs", str(jobs), "--workload", workload]
        result = CliRunner().invoke(command, [*arguments, "--seeds", "1"])
    if result.exit_code == 0:
        assert result.stdout
    else:
        assert result.exit_code == 2, (node_table, job_table, result.exception)
        assert SENTENCE.fullmatch(result.stderr), result.stderr
