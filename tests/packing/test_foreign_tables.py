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
SENTENCE = re.compile(r"penstock: [a-z_]+: .+\n", re.DOTALL)


def edited(table: bytes) -> st.SearchStrategy[bytes]:
    """The table with some cuts and insertions, or anything at all."""

    def edit(changes: list[tuple[int, int, bytes]]) -> bytes:
        found = table
        for at, length, piece in changes:
            start = at % (len(found) + 1)
            found = found[:start] + piece + found[start + length :]
        return found

    change = st.tuples(st.integers(0, len(table)), st.integers(0, 12), PIECES)
    return st.one_of(st.lists(change, max_size=4).map(edit), st.binary(max_size=200))


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.sampled_from(["placement", "replay"]),
    st.sampled_from(["list", "online"]),
    edited(NODE_TABLE),
    edited(JOB_TABLE),
)
def test_every_table_is_used_or_refused(
    what: str, workload: str, node_table: bytes, job_table: bytes
) -> None:
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
