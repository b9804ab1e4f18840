"""Which meshes do the end-to-end tests share?

One gentle mesh for the session, one that tests of kills share, and connections to them. Tests that
stop or break a mesh for good make their own with `mesh_factory`. It does not know what is tested.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path

import pytest

from e2e.mesh import Mesh
from e2e.otlp import Receiver, receiving
from e2e.raw import TERMINAL, RawClient

MeshFactory = Callable[..., Mesh]


@pytest.fixture(scope="session")
def otlp() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def _running(mesh: Mesh) -> Iterator[Mesh]:
    mesh.start()
    yield mesh
    if mesh.is_up:
        mesh.stop()
    else:
        mesh.destroy()


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory, otlp: Receiver) -> Iterator[Mesh]:
    """Two simulated nodes of eight H100 for tests that leave it as they found it. It tells traces
    and events of use."""
    home = tmp_path_factory.mktemp("mesh")
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp.endpoint, "PENSTOCK_USAGE_EVENTS": "true"}
    yield from _running(Mesh(home, env=env))


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture(autouse=True)
def failures_stay_alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a failed test leaves on the shared mesh must not fail the next one."""
    yield
    if request.node.stash.get(FAILED, False) and "mesh" in request.fixturenames:
        mesh: Mesh = request.getfixturevalue("mesh")
        live = [job["job_id"] for job in mesh.jobs() if job["state"] not in TERMINAL]
        for node in mesh.nodes():
            mesh.cli("node", "uncordon", node, exit_code=None)
        if live:
            mesh.cli("cancel", *live, exit_code=None)


@pytest.fixture(scope="module")
def rough_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """The same for tests that kill its parts; it must be whole again at the end."""
    yield from _running(Mesh(tmp_path_factory.mktemp("rough")))


@pytest.fixture
def mesh_factory(tmp_path: Path) -> Iterator[MeshFactory]:
    """`mesh_factory("--simulate", "1x2xH100")` makes a mesh, not yet started."""
    made: list[Mesh] = []

    def make(*arguments: str, **options: object) -> Mesh:
        home = tmp_path / f"home{len(made)}"
        home.mkdir()
        made.append(Mesh(home, *arguments, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.destroy()


@pytest.fixture
async def client(mesh: Mesh) -> AsyncIterator[RawClient]:
    """The local user on the shared mesh, by nats-py alone."""
    async with await RawClient.connect(mesh.nats_url, mesh.creds) as connected:
        yield connected


@pytest.fixture
async def rough_client(rough_mesh: Mesh) -> AsyncIterator[RawClient]:
    async with await RawClient.connect(rough_mesh.nats_url, rough_mesh.creds) as connected:
        yield connected
