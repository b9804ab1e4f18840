"""Which facts follow from what happens to a node?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from inventory.builders import NOW_NS, a_description, a_fleet
from penstock_contracts.errors import InvariantError
from penstock_contracts.nodes import (
    ALIVE,
    LOST,
    SUSPECT,
    Device,
    NodeCordoned,
    NodeFact,
    NodeFenced,
    NodeLivenessChanged,
    NodeRegistered,
    NodeRemoved,
    NodeUncordoned,
)
from penstock_inventory.core.audit import audit
from penstock_inventory.core.events import Command, Described, Doubted, Returned, Silent
from penstock_inventory.core.fleet import Fleet
from penstock_inventory.core.node import FORMER_BOOTS_MAX

REGISTERED = NodeRegistered(a_description())
REBOOTED = NodeRegistered(a_description(boot_id="boot-2"))
GONE = NodeLivenessChanged("n1", LOST, "no heartbeat for 10.0 s")
DOUBTED = NodeLivenessChanged("n1", SUSPECT, "no heartbeat for 3.0 s")
BACK = NodeLivenessChanged("n1", ALIVE, "heartbeats are back")


def check(given: Sequence[Any], when: Any, then: Sequence[Any]) -> Fleet:
    """Decide one event on a fleet; its facts, once folded, change it as a restart would see it."""
    fleet = a_fleet(*given)
    facts = fleet.decide(when, NOW_NS, len(given) + 1)
    assert tuple(facts) == tuple(then)
    for fact in facts:
        fleet.apply(fact, len(given) + 1, NOW_NS)
    wire = msgspec.json.decode(msgspec.json.encode(facts), type=list[NodeFact])
    assert wire == list(facts)
    again = Fleet()
    again.restore(fleet.snapshot())
    assert again.nodes == fleet.nodes
    return fleet


def command(verb: str, **more: Any) -> Command:
    return Command("n1", verb, **more)


def test_a_new_node_is_registered_alive_and_schedulable() -> None:
    fleet = check((), Described(a_description()), [REGISTERED])
    view = fleet.view("n1", 12)
    assert view is not None and view.schedulable and view.seen_age_ms == 12


def test_a_repeated_description_changes_nothing() -> None:
    check([REGISTERED], Described(a_description()), ())


@pytest.mark.parametrize(
    "changes",
    [{"boot_id": "boot-2"}, {"devices": ()}, {"labels": {"zone": "b"}}],
    ids=str,
)
def test_a_changed_description_is_registered_anew(changes: dict[str, Any]) -> None:
    description = a_description(**changes)
    check([REGISTERED], Described(description), [NodeRegistered(description)])


def test_a_boot_that_another_has_followed_never_comes_back() -> None:
    """An old message told again would have the scheduler give up what runs."""
    given = [REGISTERED, REBOOTED]
    check(given, Described(REGISTERED.description), ())
    check(given, Described(a_description(devices=())), ())
    set_back = a_description(boot_id="boot-3", joined_ms=1)
    check(given, Described(set_back), [NodeRegistered(set_back)])


def test_a_journal_that_went_back_to_a_former_boot_comes_to_the_present_one_again() -> None:
    given = [REGISTERED, REBOOTED, REGISTERED]
    fleet = check(given, Described(REBOOTED.description), [REBOOTED])
    assert fleet.decide(Described(REGISTERED.description), NOW_NS, 9) == ()


def test_only_so_many_former_boots_are_remembered() -> None:
    boots = [NodeRegistered(a_description(boot_id=f"b{n}")) for n in range(FORMER_BOOTS_MAX + 2)]
    fleet = a_fleet(*boots)
    assert fleet.nodes["n1"].former_boots[0] == "b1"
    assert len(fleet.nodes["n1"].former_boots) == FORMER_BOOTS_MAX


def test_a_reboot_keeps_cordon_and_liveness() -> None:
    fleet = check(
        [REGISTERED, NodeCordoned("n1"), DOUBTED],
        Described(REBOOTED.description),
        [REBOOTED],
    )
    node = fleet.nodes["n1"]
    assert (node.cordoned, node.liveness) == (True, SUSPECT)


@pytest.mark.parametrize(
    ("given", "liveness", "silent_ms", "then"),
    [
        ([REGISTERED], SUSPECT, 3_000, [DOUBTED]),
        ([REGISTERED, DOUBTED], SUSPECT, 4_000, []),
        ([REGISTERED, DOUBTED], LOST, 10_000, [GONE]),
        ([REGISTERED], LOST, 10_000, [GONE]),
        ([REGISTERED, GONE], SUSPECT, 3_500, []),
        ([], LOST, 10_000, []),
    ],
)
def test_silence_leads_from_alive_to_suspect_to_lost_and_never_up(
    given: list[Any], liveness: str, silent_ms: int, then: list[Any]
) -> None:
    check(given, Silent("n1", liveness, silent_ms), then)


def test_a_node_comes_back_from_suspect_and_from_lost() -> None:
    check([REGISTERED, DOUBTED], Returned("n1"), [BACK])
    check([REGISTERED, GONE], Returned("n1"), [BACK])
    check([REGISTERED], Returned("n1"), ())
    check([], Returned("n1"), ())


def test_cordon_and_uncordon_are_idempotent() -> None:
    cordoned = NodeCordoned("n1", reason="disk")
    fleet = check([REGISTERED], command("cordon", reason="disk"), [cordoned])
    view = fleet.view("n1", None)
    assert view is not None and not view.schedulable and view.reason == "disk"
    check([REGISTERED, cordoned], command("cordon"), ())
    fleet = check([REGISTERED, cordoned], command("uncordon"), [NodeUncordoned("n1")])
    view = fleet.view("n1", None)
    assert view is not None and view.schedulable and view.reason == ""
    check([REGISTERED], command("uncordon"), ())


def test_drain_sets_a_deadline_on_the_time_of_the_entry() -> None:
    drained = NodeCordoned("n1", drain=True)
    later = NodeCordoned("n1", drain=True, deadline_ns=NOW_NS + 60 * 10**9)
    fleet = check([REGISTERED], command("drain"), [drained])
    assert fleet.nodes["n1"].cordoned and fleet.nodes["n1"].draining
    check([REGISTERED, drained], command("drain"), ())
    check([REGISTERED, drained], command("drain", deadline_s=60), [later])
    check([REGISTERED, NodeCordoned("n1")], command("drain"), [drained])
    fleet = check([REGISTERED, later], command("uncordon"), [NodeUncordoned("n1")])
    assert fleet.nodes["n1"].deadline_ns is None


def test_a_fence_vouches_for_the_boot_that_is_registered() -> None:
    fenced = NodeFenced("n1", "boot-1", "pulled the plug")
    wish = command("fence", reason="pulled the plug")
    check([REGISTERED, GONE], wish, [fenced])
    check([REGISTERED, GONE, fenced], wish, ())
    check([REGISTERED, GONE, fenced, BACK], wish, [fenced])
    check([REGISTERED, fenced], wish, [fenced])
    anew = NodeFenced("n1", "boot-2", "pulled the plug")
    check([REGISTERED, GONE, fenced, REBOOTED], wish, [anew])


def test_only_a_node_that_is_away_can_be_removed() -> None:
    fleet = check([REGISTERED, GONE], command("remove"), [NodeRemoved("n1")])
    assert fleet.view("n1", None) is None
    fleet = check([REGISTERED], command("remove"), ())
    refusal = fleet.refusal_of(command("remove"))
    assert refusal is not None and refusal.code == "node_alive"


def test_commands_for_unknown_nodes_and_verbs_are_refused() -> None:
    for wish, code in (
        (Command("other", "cordon"), "unknown_node"),
        (command("explode"), "unknown_verb"),
    ):
        refusal = check([REGISTERED], wish, ()).refusal_of(wish)
        assert refusal is not None and refusal.code == code


def test_a_fact_about_a_node_that_is_not_registered_is_a_bug() -> None:
    with pytest.raises(InvariantError, match="not registered"):
        a_fleet(NodeUncordoned("n1"))


def test_the_audit_finds_a_device_that_two_nodes_claim() -> None:
    shared = (Device(uuid="GPU-same", index=0, model="H100"),)
    fleet = a_fleet(
        NodeRegistered(a_description("n1", devices=shared)),
        NodeRegistered(a_description("n2", devices=shared)),
    )
    report = audit(fleet.nodes, 2)
    assert [finding.code for finding in report.findings] == ["device_claimed_twice"]
    assert (report.nodes, report.devices, report.seq) == (2, 2, 2)
    assert audit(a_fleet(REGISTERED).nodes, 1).findings == ()


def test_after_entries_were_lost_all_but_descriptions_is_said_again() -> None:
    again = NodeLivenessChanged("n1", ALIVE, "said again")
    check([REGISTERED], Doubted(), [again, NodeUncordoned("n1")])
    cordon = NodeCordoned("n1", drain=True, deadline_ns=5, reason="disks")
    lost = NodeLivenessChanged("n1", LOST, "said again")
    check([REGISTERED, cordon, GONE], Doubted(), [lost, cordon])
