"""What does the scheduler show?"""

from __future__ import annotations

from penstock_contracts.queries import JobsQuery
from penstock_scheduler.core.telling import views
from tests.scheduler.driver import Driver, a_job, a_node


def test_a_fleet_too_large_for_one_answer_comes_in_pages(monkeypatch) -> None:
    monkeypatch.setattr(views, "PAGE_DEVICES_MAX", 20)
    driver = Driver(*(a_node(f"n{i}", 8) for i in range(5)))
    names: list[str] = []
    more, after = True, ""
    while more:
        page = views.nodes_view(driver.core.state, 9, after)
        assert 0 < len(page.nodes) <= 2
        names += [node.node for node in page.nodes]
        more, after = page.more, names[-1]
    assert names == ["n0", "n1", "n2", "n3", "n4"]


def test_live_jobs_are_listed_newest_first_by_tenant_and_page() -> None:
    driver = Driver(a_node())
    driver.submit(a_job(1), a_job(2), a_job(3))
    driver.submit(a_job(4), tenant="rival")
    page = views.jobs_view(driver.core.state, JobsQuery(tenant="acme", limit=2))
    assert [job.job_id for job in page.jobs] == [a_job(3).job_id, a_job(2).job_id] and page.more
    rest = views.jobs_view(driver.core.state, JobsQuery(tenant="acme", before=a_job(2).job_id))
    assert [job.job_id for job in rest.jobs] == [a_job(1).job_id] and not rest.more


def test_what_is_free_is_shown_per_device() -> None:
    driver = Driver(a_node(gpus=2))
    driver.submit(a_job(1, gpus=1, gpu_milli=300))
    node = views.nodes_view(driver.core.state, 9).nodes[0]
    assert [device.free_milli for device in node.devices] == [700, 1000]
    assert (node.leases, node.schedulable) == (1, True)
