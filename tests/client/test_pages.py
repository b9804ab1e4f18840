"""Are jobs listed without a gap where services' pages end at different jobs?"""

from __future__ import annotations

from client.builders import a_job_id, a_view
from client.mesh import FakeMesh
from penstock_client.client import Client
from penstock_contracts.jobs import JobSpec
from penstock_contracts.queries import PAGE_BYTES_MAX, JobsQuery, JobsView, jobs_page


async def test_no_job_is_left_out_between_two_pages(client: Client, mesh: FakeMesh) -> None:
    ids = [a_job_id() for _ in range(6)]
    live, ended = ([a_view(job_id=i) for i in reversed(ids[at::2])] for at in (0, 1))

    def answer(jobs: list, first: int):
        def page(payload: bytes) -> JobsView:
            if b"before" in payload:
                before = payload.split(b'"before":"')[1][:26].decode()
                return JobsView(tuple(job for job in jobs if job.job_id < before))
            return JobsView(tuple(jobs[:first]), more=first < len(jobs))

        return page

    await mesh.answer("query.scheduler.jobs", answer(live, 1))  # its jobs are large
    await mesh.answer("query.metering.jobs", answer(ended, 3))
    first, _ = await client.jobs(JobsQuery())
    assert first.more
    rest, _ = await client.jobs(JobsQuery(before=first.jobs[-1].job_id))
    told = [job.job_id for job in (*first.jobs, *rest.jobs)]
    assert told == sorted(ids, reverse=True)


def test_a_page_ends_where_a_message_is_full() -> None:
    large = JobSpec(job_id=a_job_id(), command=("x" * 30_000, "y" * 30_000))
    views = [a_view(spec=large) for _ in range(20)]
    page = jobs_page(views, 100)
    assert page.more
    assert len(page.jobs) == PAGE_BYTES_MAX // 60_000
    assert jobs_page(views[:2], 2) == JobsView(tuple(views[:2]))
    assert jobs_page(views[:3], 2) == JobsView(tuple(views[:2]), more=True)
