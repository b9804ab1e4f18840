"""Does work stay with the node it was given to, wherever that is reached?"""

from __future__ import annotations

import pytest

from penstock_contracts import nodes
from penstock_contracts.leases import Exited, Released
from penstock_scheduler.core.events import NodeChanged, NodeReported
from tests.scheduler.driver import Driver, a_job, a_node

ADDRESS = "10.0.0.7"


@pytest.mark.lesson(11)
def test_a_new_host_at_a_dead_hosts_address_gets_nothing_of_its_work() -> None:
    driver, job = Driver(a_node("n1", 1, advertise_address=ADDRESS)), a_job(gpus=1)
    driver.submit(job)
    driver.start(job)
    driver.feed(NodeChanged(nodes.NodeLivenessChanged("n1", "lost", "silent")))
    driver.feed(NodeChanged(nodes.NodeRegistered(a_node("n2", 1, advertise_address=ADDRESS))))
    exited = driver.reported(Exited, job, reason="exited", exit_code=0)
    released = driver.reported(Released, job)
    assert driver.feed(*(NodeReported("n2", "boot-1", x.item) for x in (exited, released))) == []
    assert [lease.node for lease in driver.core.state.leases.values()] == ["n1"]
    assert not driver.core.state.nodes["n1"].schedulable
    assert driver.core.state.nodes["n2"].free == [1000]
    driver.feed(exited, released)
    assert driver.core.state.finished == {"succeeded": 1}
