"""Does every node learn what it should hold, whatever gets lost?"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from penstock_bus.port import Message, NoResponders
from penstock_contracts.leases import DesiredAck, LeaseRenewal, NodeDesired, lease_digest
from penstock_contracts.nodes import Heartbeat
from penstock_scheduler.core.orders.desired import orders_of
from penstock_scheduler.node_links import AHEAD_MAX, AHEAD_TOTAL_MAX, BELIEVE_NS, NodeLinks
from tests.scheduler.driver import Driver, a_job, a_node


class Wire:
    """A bus that only remembers; any other use fails."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, NodeDesired, Callable[[Any], None]]] = []
        self.renewed: list[tuple[str, LeaseRenewal]] = []

    def request_nowait(
        self, subject: str, payload: bytes, on_done: Callable[[Any], None], *, timeout_s: float
    ) -> None:
        self.sent.append((subject, msgspec.json.decode(payload, type=NodeDesired), on_done))

    def publish_nowait(self, subject: str, payload: bytes) -> None:
        self.renewed.append((subject, msgspec.json.decode(payload, type=LeaseRenewal)))


class Site:
    """A driven core, its links, and one node's side of the wire."""

    def __init__(self) -> None:
        self.driver = Driver(a_node("n1", 4))
        self.wire = Wire()
        self.nudges = 0
        self.ahead: list[int] = []
        self.links = NodeLinks(
            self.wire,  # type: ignore[arg-type]
            state=lambda: self.driver.core.state,
            seq=lambda: self.driver.seq,
            now_ns=lambda: self.driver.now_ns,
            nudge=self._nudge,
            ahead=self.ahead.append,
        )
        self.links.reset()
        self.answer(ok=True)

    def _nudge(self) -> None:
        self.nudges += 1

    def submit(self, number: int, **fields: Any) -> None:
        self.driver.submit(a_job(number, gpus=1, **fields))
        self.links.push_changes()

    def last(self) -> NodeDesired:
        return self.wire.sent[-1][1]

    def answer(self, *, ok: bool, which: int = -1) -> None:
        _, desired, on_done = self.wire.sent[which]
        on_done(Message("_INBOX.x", msgspec.json.encode(DesiredAck(desired.as_of, ok))))

    def beat(self, as_of: int | None = None, keys: Any = None, *, boot_id: str = "boot-1") -> None:
        held = orders_of(self.driver.core.state, "n1") if keys is None else keys
        heartbeat = Heartbeat(
            node="n1",
            boot_id=boot_id,
            sent_boot_ns=77,
            as_of=self.last().as_of if as_of is None else as_of,
            digest=lease_digest(held),
        )
        payload = msgspec.json.encode(heartbeat)
        self.links.hear(Message("penstock.v1.node.n1.heartbeat", payload))
        self.links.judge()


@pytest.fixture
def site() -> Site:
    return Site()


def test_after_a_take_over_every_node_is_sent_everything(site: Site) -> None:
    assert site.last().full and site.last().boot_id == "boot-1"


def test_a_change_goes_out_as_a_delta_over_the_last_one_sent(site: Site) -> None:
    site.submit(1)
    first = site.last()
    site.submit(2)
    assert not first.full and [order.job_id for order in first.leases] == [a_job(1).job_id]
    assert site.last().base == first.as_of, "not waiting for the answer"


def test_what_is_told_is_what_was_committed_when_orders_last_went_out(site: Site) -> None:
    assert site.links.told_seq == site.driver.seq
    site.driver.submit(a_job(1, gpus=1))
    assert site.links.told_seq == site.driver.seq - 1, "committed, and not sent yet"
    site.links.push_changes()
    assert site.links.told_seq == site.driver.seq
    site.driver.tick()
    site.links.push_changes()
    assert site.links.told_seq == site.driver.seq, "also when nothing had to be sent"


def test_what_is_released_is_dropped(site: Site) -> None:
    site.submit(1)
    key = site.last().leases[0].key
    site.driver.start(a_job(1, gpus=1))
    site.driver.end(a_job(1, gpus=1))
    site.links.push_changes()
    assert site.last().dropped == (key,) and site.last().leases == ()


def test_nothing_is_sent_when_nothing_changed_for_the_node(site: Site) -> None:
    before = len(site.wire.sent)
    site.driver.tick(1)
    site.links.push_changes()
    assert len(site.wire.sent) == before


def test_a_refused_delta_is_followed_by_everything(site: Site) -> None:
    site.submit(1)
    site.answer(ok=False)
    assert site.nudges
    site.links.judge()
    assert site.last().full and len(site.last().leases) == 1


def test_a_node_that_refuses_even_everything_is_asked_again_at_its_next_heartbeat(
    site: Site,
) -> None:
    site.links.reset()
    sent = len(site.wire.sent)
    site.answer(ok=False)
    site.links.judge()
    assert len(site.wire.sent) == sent
    site.beat()
    assert len(site.wire.sent) == sent + 1 and site.last().full


def test_silence_is_followed_by_everything_at_the_next_heartbeat(site: Site) -> None:
    site.submit(1)
    site.wire.sent[-1][2](NoResponders("nobody"))
    site.beat()
    assert site.last().full


def test_an_answer_from_before_a_full_one_changes_nothing(site: Site) -> None:
    site.submit(1)
    old = len(site.wire.sent) - 1
    site.submit(2)
    site.answer(ok=False, which=old)
    site.links.judge()
    assert site.last().full
    sent = len(site.wire.sent)
    site.answer(ok=False, which=old + 1)
    site.links.judge()
    assert len(site.wire.sent) == sent


@pytest.mark.lesson(1, 3)
@pytest.mark.parametrize("wrong", [{"keys": ["1/x/0"]}, {"as_of": 1}], ids=["digest", "as_of"])
def test_a_node_that_holds_something_else_twice_is_sent_everything(
    site: Site, wrong: dict[str, Any]
) -> None:
    site.submit(1)
    site.answer(ok=True)
    site.beat()
    sent = len(site.wire.sent)
    site.beat(**wrong)
    assert len(site.wire.sent) == sent, "one heartbeat may have crossed an order"
    site.beat(**wrong)
    assert len(site.wire.sent) == sent + 1 and site.last().full


def test_only_leases_that_need_contact_are_renewed(site: Site) -> None:
    site.submit(1)
    site.beat()
    assert site.wire.renewed == []
    site.submit(2, disconnect_s=30)
    site.beat()
    assert site.wire.renewed == [("penstock.v1.node.n1.renewal", LeaseRenewal(77))]


def test_orders_that_need_contact_say_which_heartbeat_was_heard_last(site: Site) -> None:
    site.beat()
    site.submit(1)
    assert site.last().heard_boot_ns == 0, "nobody asks"
    site.submit(2, disconnect_s=30)
    assert site.last().heard_boot_ns == 77
    site.links.reset()
    assert site.last().full and site.last().heard_boot_ns == 77


@pytest.mark.parametrize("boot_id", [None, "boot-0"], ids=["none", "of another boot"])
def test_what_was_not_heard_in_this_boot_is_no_contact(site: Site, boot_id: str | None) -> None:
    if boot_id is not None:
        site.beat(boot_id=boot_id)
    site.submit(1, disconnect_s=30)
    assert site.last().leases and site.last().heard_boot_ns == 0


def test_a_stop_goes_out_as_an_order_and_not_as_silence(site: Site) -> None:
    site.submit(1)
    site.driver.start(a_job(1, gpus=1))
    site.driver.cancel(a_job(1, gpus=1))
    site.links.push_changes()
    order = site.last().leases[0]
    assert (order.phase, order.stop_reason) == ("stop", "cancelled")


def test_a_node_that_is_ahead_gets_nothing_before_the_journal_is_moved(site: Site) -> None:
    site.links.reset()
    site.beat(as_of=site.driver.seq + 7)
    assert site.ahead == [site.driver.seq + 7]
    site.submit(1)
    assert not site.driver.core.state.leases
    site.driver.seq += 7
    site.links.reset()
    site.beat(as_of=site.driver.seq)
    site.driver.tick()
    assert site.driver.core.state.leases


def test_a_node_that_lies_moves_the_journal_step_by_step_and_not_for_ever(site: Site) -> None:
    site.links.reset()
    for _ in range(30):
        site.beat(as_of=1 << 62)
        site.driver.now_ns += BELIEVE_NS
    steps = [after - before for before, after in pairwise([site.driver.seq, *site.ahead])]
    assert max(steps) == AHEAD_MAX and sum(steps) == AHEAD_TOTAL_MAX
