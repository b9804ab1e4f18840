"""Is a table that cannot be used refused in one sentence with file, line and column?"""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from packing.traces import JOB_HEAD, JOB_LINES, NODE_HEAD, jobs_file, nodes_file
from penstock_scheduler.core.packing.shapes import PackShape
from penstock_scheduler.simulate.tables import LINE_BYTES_MAX, BadTable
from penstock_scheduler.simulate.traces import read_jobs, read_nodes, read_timed_jobs

MIB = 2**20


def refusal(folder: Path, jobs: Path) -> str:
    """What is said of a jobs file, without the folder's name."""
    nodes = read_nodes(nodes_file(folder))
    with pytest.raises(BadTable) as caught:
        read_jobs(jobs, nodes)
    return str(caught.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("j,-1,1,1,1000,", "jobs.csv, line 2, column cpu_milli: -1 is negative"),
        ("j,1,x,1,1000,", "jobs.csv, line 2, column memory_mib: 'x' is not a whole number"),
        ("j,1,1.5,1,1000,", "jobs.csv, line 2, column memory_mib: '1.5' is not a whole number"),
        ("j,1,,1,1000,", "jobs.csv, line 2, column memory_mib: '' is not a whole number"),
        ("j,1,١,1,1000,", "jobs.csv, line 2, column memory_mib: '١' is not a whole number"),
        ("j,1,1_0,1,1000,", "jobs.csv, line 2, column memory_mib: '1_0' is not a whole number"),
        ("j,1,1,1,1001,", "jobs.csv, line 2, column gpu_milli: 1001 is above 1000"),
        ("j,1,1,1,0,", "jobs.csv, line 2, column gpu_milli: is 0, but num_gpu is not"),
        (
            "j,1,1,2,500,",
            "jobs.csv, line 2, column gpu_milli: 500 is a share, which only one device can give",
        ),
        (
            "j,9999999999,1,1,1000,",
            "jobs.csv, line 2, column cpu_milli: 9999999999 is above 1000000000",
        ),
        (
            "j,99999999999999999999,1,1,1000,",
            "jobs.csv, line 2, column cpu_milli: '99999999999999999999' is not a whole number",
        ),
        (
            "j,1,1,1,1000,H900",
            "jobs.csv, line 2, column gpu_spec: no node has the model 'H900'",
        ),
        (
            "j,1,1,1",
            "jobs.csv, line 2, column gpu_milli: the line has 4 fields, the header 6",
        ),
        (
            "j,1,1,1,1000,,7",
            "jobs.csv, line 2, column gpu_spec: the line has 7 fields, the header 6",
        ),
        (
            f"j,1,1,1,1000,A100|{'x' * 508}",
            "jobs.csv, line 2, column gpu_spec: is longer than 512 characters",
        ),
        ('"j,1,1,1,1000,', "jobs.csv, line 2, column 1: is no CSV: unexpected end of data"),
        ("j\0,1,1,1,1000,", "jobs.csv, line 2, column 2: holds a zero byte"),
        ("j,1,1,0,0,", "jobs.csv, line 2, column num_gpu: no job asks for a device"),
        ("", "jobs.csv, line 2, column name: there is no row below the header"),
    ],
)
def test_a_bad_job_is_named(tmp_path: Path, line: str, sentence: str) -> None:
    assert refusal(tmp_path, jobs_file(tmp_path, [line])) == sentence


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        ("", "jobs.csv, line 1, column name: the file is empty"),
        ("name,cpu_milli", "jobs.csv, line 1, column memory_mib: the column is missing"),
        (JOB_HEAD + ",name", "jobs.csv, line 1, column name: is there twice"),
        ("name,\x1b[2J,\x1b[2J", "jobs.csv, line 1, column cpu_milli: the column is missing"),
        (JOB_HEAD + ",\x1b,\x1b", r"jobs.csv, line 1, column '\x1b': is there twice"),
        (JOB_HEAD + ",,", "jobs.csv, line 1, column '': is there twice"),
    ],
)
def test_a_bad_header_is_named(tmp_path: Path, head: str, sentence: str) -> None:
    lines = JOB_LINES if head else []
    assert refusal(tmp_path, jobs_file(tmp_path, lines, head)) == sentence


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["a,1,1,1,A", "a,1,1,1,A"], "nodes.csv, line 3, column sn: 'a' is there twice"),
        (["a,1,1,1,"], "nodes.csv, line 2, column model: is empty"),
        (["a,1,1,257,A"], "nodes.csv, line 2, column gpu: 257 is above 256"),
        (["a,1,1,0,"], "nodes.csv, line 2, column gpu: no node has a device"),
        ([",1,1,1,A"], "nodes.csv, line 2, column sn: is empty"),
    ],
)
def test_a_bad_node_is_named(tmp_path: Path, lines: list[str], sentence: str) -> None:
    with pytest.raises(BadTable) as caught:
        read_nodes(nodes_file(tmp_path, lines))
    assert str(caught.value) == f"{tmp_path}/{sentence}"


def test_times_that_run_backwards_are_named(tmp_path: Path) -> None:
    head = JOB_HEAD + ",creation_time,deletion_time"
    path = jobs_file(tmp_path, ["j,1,1,1,1000,,20,10"], head)
    with pytest.raises(BadTable, match="line 2, column deletion_time: 10 is before creation_time"):
        read_timed_jobs(path, read_nodes(nodes_file(tmp_path)))


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    path = tmp_path / "jobs.csv"
    path.write_bytes(JOB_HEAD.encode() + b"\nj\xff,1,1,1,1000,\n")
    assert refusal(tmp_path, path) == "jobs.csv, line 2, column 2: byte 0xff is not UTF-8"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    said = refusal(tmp_path, tmp_path / "jobs.csv")
    assert said == "jobs.csv: cannot be read: No such file or directory"


def test_a_line_without_end_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "jobs.csv"
    with path.open("wb") as file:
        file.write(JOB_HEAD.encode() + b"\n")
        file.truncate(2**30)  # a gigabyte of zero bytes without a line's end
    tracemalloc.start()
    said = refusal(tmp_path, path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    column = LINE_BYTES_MAX + 1
    assert said == (
        f"jobs.csv, line 2, column {column}: the line is longer than {LINE_BYTES_MAX} bytes"
    )
    assert most < MIB


def test_what_is_meant_is_read(tmp_path: Path) -> None:
    path = tmp_path / "nodes.csv"
    path.write_bytes(
        b"\xef\xbb\xbf" + NODE_HEAD.encode() + b"\r\n a , 8 ,16,1,A\r\n\r\nb,1,1,0,\r\n"
    )
    nodes = read_nodes(path)
    assert list(nodes.rooms) == ["a", "b"]
    assert nodes.models == {"A": 1}
    jobs = read_jobs(jobs_file(tmp_path, ["j,1,2,1,500,A|B"]), nodes)
    assert jobs[0] == PackShape(1, 2, 1, 500, None, ("A", "B"))
