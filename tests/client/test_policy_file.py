"""Is a file of the queue's policy read as it is meant, and refused with the line and the rule?"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock_client.policy_file import FILE_BYTES_MAX, PolicyFileError, read_policy
from penstock_client.policy_text import policy_text
from penstock_contracts.queue_policy import POOLS_MAX, Pool, QueuePolicy, Quota, Reservation

ROOT = Path(__file__).resolve().parents[2]
FILE = """\
# What the cluster is for.
half_life = "7d"

[[pools]]
name = "h100"
node_labels = { gpu = "h100" }
order = "hold"
hold = "10m"

[[pools]]
name = "rest"
preempt = "all"

[[quotas]]
name = "acme"                 # the organisation
guaranteed_gpus = 40
maximum_gpus = 64

[[quotas]]
name = "vision"
parent = "acme"
tenant = "acme"
project = "vision"
guaranteed_gpus = 7.5
weight = 3

[[reservations]]
name = "new-fans"
start = 2026-12-01T08:00:00Z
end = 2026-12-01T12:00:00+01:00
nodes = ["node-a", "node-b"]
reason = "new fans"
"""
POLICY = QueuePolicy(
    half_life_s=7 * 86_400,
    pools=(
        Pool(name="h100", node_labels={"gpu": "h100"}, order="hold", hold_s=600),
        Pool(name="rest", preempt="all"),
    ),
    quotas=(
        Quota(name="acme", guaranteed_gpu_milli=40_000, maximum_gpu_milli=64_000),
        Quota(
            name="vision",
            parent="acme",
            tenant="acme",
            project="vision",
            guaranteed_gpu_milli=7_500,
            weight=3,
        ),
    ),
    reservations=(
        Reservation(
            name="new-fans",
            start_ms=1_796_112_000_000,
            end_ms=1_796_122_800_000,
            nodes=("node-a", "node-b"),
            reason="new fans",
        ),
    ),
)


def faults(text: str, **nodes: dict[str, str]) -> list[tuple[int, str, str]]:
    """Line, code and field of each."""
    with pytest.raises(PolicyFileError) as raised:
        read_policy(text.encode(), nodes)
    assert all(fault.sentence for fault in raised.value.faults)
    return [(fault.line, fault.code, fault.field) for fault in raised.value.faults]


def line_of(text: str, part: str) -> int:
    return 1 + text[: text.index(part)].count("\n")


def refused(old: str, new: str, code: str, field: str, at: str = "") -> None:
    """The file with `old` changed is refused on the line where `at` (else `new`) stands then."""
    text = FILE.replace(old, new)
    assert text != FILE
    assert faults(text) == [(line_of(text, at or new), code, field)]


def test_a_file_is_read_as_it_is_meant() -> None:
    assert read_policy(FILE.encode()) == POLICY
    assert read_policy(FILE.replace("\n", "\r\n").encode()) == POLICY
    assert read_policy(b"") == QueuePolicy()


def test_a_circle_of_quotas_is_refused_with_its_line() -> None:
    circle = 'name = "acme"\nparent = "acme"'
    refused('name = "acme"  ', circle, "quota_cycle", "quotas[0].parent", 'parent = "acme"')


def test_guarantees_over_those_of_the_parent_are_refused_with_their_line() -> None:
    new = "guaranteed_gpus = 40.5"
    field = "quotas[1].guaranteed_gpus"
    refused("guaranteed_gpus = 7.5", new, "guarantees_over_parent", field)


def test_a_negative_weight_is_refused_with_its_line() -> None:
    refused("weight = 3", "weight = -3", "invalid_field", "quotas[1].weight")


def test_an_unknown_pool_is_refused_with_its_line() -> None:
    pool = 'pool = "nowhere"'
    refused("maximum_gpus = 64", pool, "unknown_pool", "quotas[0].pool")


def test_overlapping_reservations_are_refused_with_their_line() -> None:
    again = '[[reservations]]\nname = "again"\nstart = 2026-12-01T10:00:00Z\n'
    again += 'end = 2026-12-02\nnodes = [\n  "node-c", # new\n  "node-b",\n]\n'
    text = FILE + again
    at = line_of(text, "nodes = [\n")
    assert faults(text) == [(at, "reservations_overlap", "reservations[1].nodes")]
    by_label = text.replace(again[again.index("nodes") :], 'node_labels = { rack = "r1" }\n')
    assert read_policy(by_label.encode())
    at = line_of(by_label, "node_labels = { rack")
    overlap = (at, "reservations_overlap", "reservations[1].node_labels")
    assert faults(by_label, **{"node-a": {"rack": "r1"}}) == [overlap]


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('order = "hold"', 'order = "held"', "pools[0].order"),
        ('hold = "10m"', "hold = 0", "pools[0].hold"),
        ('hold = "10m"', 'hold = "soon"', "pools[0].hold"),
        ('hold = "10m"', "hold = true", "pools[0].hold"),
        ("maximum_gpus = 64", "maximum_gpus = true", "quotas[0].maximum_gpus"),
        ("maximum_gpus = 64", "maximum_gpus = 1e99", "quotas[0].maximum_gpus"),
        ("maximum_gpus = 64", "maximum_gpus = nan", "quotas[0].maximum_gpus"),
        ("maximum_gpus = 64", "maximum_gpus = 64.0001", "quotas[0].maximum_gpus"),
        ("maximum_gpus = 64", 'maximum_gpus = "64"', "quotas[0].maximum_gpus"),
        ('name = "vision"', 'name = "a b"', "quotas[1].name"),
        ('tenant = "acme"', 'tenant = "a.b"', "quotas[1].tenant"),
        ("start = 2026-12-01T08:00:00Z", "start = 08:00:00", "reservations[0].start"),
        ("start = 2026-12-01T08:00:00Z", "start = 1960-01-01", "reservations[0].start"),
        ('node_labels = { gpu = "h100" }', "node_labels = { gpu = 3 }", "pools[0].node_labels"),
        ('reason = "new fans"', 'reason = "new\\nfans"', "reservations[0].reason"),
        ("maximum_gpus = 64", "maximum = 64", "quotas[0].maximum"),
        ('half_life = "7d"', 'half_live = "7d"', "half_live"),
    ],
)
def test_a_wrong_value_is_refused_with_its_line(old: str, new: str, field: str) -> None:
    refused(old, new, "invalid_field", field)


def test_what_is_missing_is_told_where_its_table_begins() -> None:
    text = FILE.replace("end = 2026-12-01T12:00:00+01:00\n", "")
    at = line_of(text, "[[reservations]]")
    assert faults(text) == [(at, "invalid_field", "reservations[0]")]


def test_all_faults_are_told_at_once_by_their_lines() -> None:
    text = FILE.replace("weight = 3", "weight = 0").replace('"10m"', '"10x"')
    text = text.replace("# What", "x = 1 # What")
    assert [fault[2] for fault in faults(text)] == ["x", "pools[0].hold", "quotas[1].weight"]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"a = 1\n[[pools]\n", 2),
        (b"a = \n", 1),
        (b'\n\nname = "open\n', 3),
        (b'\na = """\n\nopen', 4),
        (b"a = 1\n\na = 2\n", 3),
        (b"a = 1\n# \xff\n", 2),
        (b"a = " + b"[" * 5_000, 1),
        (b"#" * (FILE_BYTES_MAX + 1), 1),
    ],
)
def test_what_is_no_toml_is_refused_with_its_line(data: bytes, line: int) -> None:
    with pytest.raises(PolicyFileError) as raised:
        read_policy(data)
    assert [fault.line for fault in raised.value.faults] == [line]


@pytest.mark.parametrize("text", ["pools = 3", '[pools]\nname = "a"', "pools = [1]"])
def test_parts_that_are_no_tables_are_refused(text: str) -> None:
    assert faults(text) == [(1, "invalid_field", "pools")]


def test_there_are_only_so_many_of_each() -> None:
    text = "".join(f'[[pools]]\nname = "p{i}"\nnode_labels = {{ a = "{i}" }}\n' for i in range(65))
    assert faults(text) == [(3 * POOLS_MAX + 1, "invalid_field", f"pools[{POOLS_MAX}]")]


def test_the_example_can_be_applied() -> None:
    policy = read_policy((ROOT / "examples" / "policy.toml").read_bytes())
    assert policy.pools and policy.quotas and policy.reservations
    assert read_policy(policy_text(policy).encode()) == policy


def test_the_guide_shows_a_file_that_can_be_applied() -> None:
    guide = (ROOT / "docs" / "queue.md").read_text("utf-8")
    example = guide.partition("```toml\n")[2].partition("```")[0]
    policy = read_policy(example.encode())
    assert [quota.name for quota in policy.quotas] == ["acme", "acme-vision", "acme-rest"]
    assert read_policy(policy_text(policy).encode()) == policy


DAMAGE = ("", "\x00", "[", "]]", "{", '"', "'", '"""', "=", "\n", ",", "#", "\\", "é", "1")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(0, len(FILE)),
    st.integers(0, 40),
    st.sampled_from(DAMAGE),
)
def test_a_damaged_file_is_read_or_refused_with_a_line(at: int, cut: int, put: str) -> None:
    text = FILE[:at] + put + FILE[at + cut :]
    try:
        read_policy(text.encode())
    except PolicyFileError as error:
        assert error.faults
        assert all(1 <= one.line <= text.count("\n") + 2 for one in error.faults)


def test_the_example_is_a_policy() -> None:
    example = Path(__file__).parents[2] / "examples" / "policy.toml"
    policy = read_policy(example.read_bytes())
    assert [pool.name for pool in policy.pools] == ["h100", "default"]
    assert len(policy.quotas) == 3
