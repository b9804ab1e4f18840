"""Is a file of the queue's policy read as it is meant, and refused with the line and the rule?"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock_client.policy_file import FILE_BYTES_MAX, PolicyFileError, read_policy
from penstock_client.policy_text import Change, changes, policy_text
from penstock_contracts.queue_policy import POOLS_MAX, Pool, QueuePolicy, Quota, Reservation

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


def test_two_policies_differ_in_words_that_an_operator_knows() -> None:
    new = replace(
        POLICY,
        half_life_s=86_400,
        pools=POLICY.pools[::-1],
        quotas=(replace(POLICY.quotas[0], maximum_gpu_milli=None), Quota(name="b", tenant="beta")),
        reservations=(replace(POLICY.reservations[0], end_ms=1_796_115_600_000),),
    )
    assert changes(POLICY, POLICY) == ()
    said = [(c.kind, c.part, c.name, c.field, c.before, c.after) for c in changes(POLICY, new)]
    assert said == [
        ("changed", "", "", "half_life", '"7d"', '"1d"'),
        ("moved", "pools", "", "", "h100, rest", "rest, h100"),
        ("removed", "quotas", "vision", "", "", ""),
        ("changed", "quotas", "acme", "maximum_gpus", "64", ""),
        ("added", "quotas", "b", "", "", 'tenant = "beta"'),
        ("changed", "reservations", "new-fans", "end", "2026-12-01T11:00:00Z",
         "2026-12-01T09:00:00Z"),
    ]  # fmt: skip
    assert changes(POLICY, new)[0] == Change(
        kind="changed", part="", field="half_life", before='"7d"', after='"1d"'
    )


names = st.sampled_from(["a", "b.c", "D-1_x", "9"])
tokens = st.sampled_from(["acme", "beta-2", "X_"])
texts = st.sampled_from(["", "rack", 'a "b"', "c\\d", "é ☃", "a.b = 'c'", "# no", "\U0001f600"])
labels = st.dictionaries(texts, texts, max_size=3)
seconds = st.integers(1, 366 * 86_400)
milli = st.integers(0, 1_000_000_000)
pools = st.builds(
    Pool, name=names, node_labels=labels, order=st.sampled_from(["fifo", "hold"]), hold_s=seconds
)
leaves = st.builds(
    Quota,
    name=names,
    tenant=tokens,
    project=tokens | st.just(""),
    maximum_gpu_milli=milli | st.none(),
    weight=st.integers(1, 1_000_000),
    queued_max=st.none() | st.integers(0, 500_000),
)
windows = st.builds(
    Reservation,
    name=names,
    start_ms=st.integers(0, 1 << 42),
    end_ms=st.integers((1 << 42) + 1, (1 << 43) - 1),
    nodes=st.just(("node-a", "node-b")),
    reason=texts,
)


def by_name(entries: list[Any]) -> tuple[Any, ...]:
    return tuple({entry.name: entry for entry in entries}.values())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(pools, max_size=2), st.lists(leaves, max_size=2), windows | st.none(), seconds)
def test_what_is_written_reads_as_the_same_policy(
    some_pools: list[Pool], some_quotas: list[Quota], window: Reservation | None, half_life_s: int
) -> None:
    policy = QueuePolicy(
        pools=by_name(some_pools),
        quotas=by_name(some_quotas),
        reservations=() if window is None else (window,),
        half_life_s=half_life_s,
    )
    try:
        read = read_policy(policy_text(policy).encode())
    except PolicyFileError as error:
        codes = {fault.code for fault in error.faults}
        assert codes <= {"pool_without_nodes", "counted_twice"}
    else:
        assert read == policy
