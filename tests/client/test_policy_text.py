"""Is a policy written as a file that says the same, and are two compared in an operator's words?"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from client.test_policy_file import POLICY
from penstock_client.policy_file import PolicyFileError, read_policy
from penstock_client.policy_text import Change, changes, policy_text
from penstock_contracts.queue_policy import Pool, QueuePolicy, Quota, Reservation


def test_nothing_is_written_that_is_so_when_nothing_is_said() -> None:
    assert policy_text(QueuePolicy()) == ""
    policy = QueuePolicy(pools=(Pool(name="a"),), predicts=False)
    assert policy_text(policy) == 'predicts = false\n\n[[pools]]\nname = "a"\n'


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
