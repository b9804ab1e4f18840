"""What is done for a lease before it begins and after it has ended?

Before: its devices are looked at, its image, secrets and files are got. After: its outputs are
stored, its secrets taken away, its devices looked at until they are free of it. One task per lease
that needs any of this, begun anew by whoever asks again. It decides nothing about the lease: what
it finds is an event.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from penstock_bus.port import Bus
from penstock_contracts.errors import InvariantError
from penstock_contracts.leases import Exited, LeaseOrder
from penstock_contracts.work import Container, Output, StoredOutput
from penstock_node_agent.core.events import Finished, Readied
from penstock_node_agent.core.state import FINISHING, OVER, Lease, State
from penstock_node_agent.core.turns import BUSY
from penstock_node_agent.host import Host
from penstock_node_agent.workplace.depot_link import DepotLink
from penstock_node_agent.workplace.files import Files
from penstock_node_agent.workplace.slots import Slots
from penstock_node_agent.workplace.unready import JOB, NODE, Unready
from penstock_runtime.clock import Clock

SECRETS_VARIABLE = "PENSTOCK_SECRETS"
HELD_AGAIN_S = 5.0
"""How often devices that are not free of what has ended are looked at again."""

log = logging.getLogger(__name__)


class Checks(Protocol):
    """Looks at devices, and answers what is wrong by device, as sentences."""

    async def before(self, uuids: list[str]) -> dict[str, str]: ...

    async def after(self, uuids: list[str]) -> dict[str, str]: ...


class Images(Protocol):
    """Images of containers. Both raise Unready."""

    def allowed_mounts(self, container: Container, tenant: str) -> None: ...

    async def pull(self, image: str, policy: str, progress: Callable[[str], None]) -> None: ...


def unlimited(order: LeaseOrder) -> dict[str, str]:
    """Nobody is held to a part of a device."""
    return {}


class Tools:
    """What the work is done with. `checks`, `images` None: this node has none. `limits`: what in a
    job's environment holds it to its part of a device."""

    checks: Checks | None = None

    def __init__(self, bus: Bus, node: str, host: Host) -> None:
        self.depot = DepotLink(bus, node)
        self.files = Files(self.depot, host.files, host.mounts)
        self.secrets = host.secrets
        self.images: Images | None = host.podman
        self.limits: Callable[[LeaseOrder], dict[str, str]] = unlimited


class Workbench:
    """`state` is read only; `take` hears of Readied and Finished."""

    def __init__(
        self,
        state: State,
        clock: Clock,
        slots: Slots,
        tools: Tools,
        take: Callable[[Readied | Finished], None],
    ) -> None:
        self._state, self._clock, self._slots, self._tools = state, clock, slots, tools
        self._take = take
        self._readying: dict[str, asyncio.Task[None]] = {}
        self._finishing: dict[str, asyncio.Task[None]] = {}
        self._again: set[tuple[bool, str]] = set()
        self._variables: dict[str, dict[str, str]] = {}

    def ready(self, key: str) -> None:
        """Begin; behind what is under way, once more if that was not enough."""
        lease = self._state.leases.get(key)
        if lease is not None and lease.unready:
            self._run(self._readying, key, self._make_ready(lease))

    def finish(self, key: str) -> None:
        """The same: what is under way may know less than is known now."""
        lease = self._state.leases.get(key)
        if lease is not None and lease.stage == FINISHING:
            self._run(self._finishing, key, self._finish(lease))

    def variables(self, key: str) -> dict[str, str]:
        """What the lease's secrets add to its environment."""
        return self._variables.get(key, {})

    def sweep(self) -> None:
        """Secrets of leases that are over go, whoever laid them down."""
        secrets, leases = self._tools.secrets, self._state.leases.values()
        if secrets is not None:
            secrets.keep_only([lease.key for lease in leases if lease.stage != OVER])

    def close(self) -> None:
        for task in (*self._readying.values(), *self._finishing.values()):
            task.cancel()

    def _run(
        self, tasks: dict[str, asyncio.Task[None]], key: str, work: Coroutine[Any, Any, None]
    ) -> None:
        begin = self.ready if tasks is self._readying else self.finish
        again = (tasks is self._readying, key)
        if key in tasks:
            work.close()
            self._again.add(again)
            return
        task = tasks[key] = asyncio.ensure_future(work)

        def done(task: asyncio.Task[None]) -> None:
            del tasks[key]
            if again in self._again:
                self._again.discard(again)
                begin(key)

        task.add_done_callback(done)

    # -- before ------------------------------------------------------------------------------------
    async def _make_ready(self, lease: Lease) -> None:
        code = message = blame = ""
        try:
            await self._get_all(lease)
        except Unready as error:
            code, message, blame = error.code, error.message, error.blame
        except Exception as error:  # a bug here must not hold a device for ever
            log.exception("a lease cannot be made ready", extra={"lease": lease.key})
            code, message, blame = "not_ready", f"its agent failed: {error!r}", NODE
        now = self._clock.boottime_ns()
        self._take(
            Readied(at_ns=now, key=lease.key, code=code, message=message, blame=blame or JOB)
        )

    async def _get_all(self, lease: Lease) -> None:
        order, slot, tools = lease.order, lease.slot, self._tools
        if slot is None:
            raise InvariantError(f"lease {lease.key} is made ready without a slot")
        self._slots.make(slot)
        if self._state.checks and tools.checks is not None:
            left = await tools.checks.before(self._devices_of_its_own(lease))
            if left:
                raise Unready("device_not_free", _sentence(left), NODE)
        if order.container is not None:
            await self._get_image(order, order.container)
        if order.secrets:
            await self._get_secrets(lease)
        for wanted in order.inputs:
            await tools.files.fetch(order, wanted, self._slots.work(slot))

    async def _get_image(self, order: LeaseOrder, container: Container) -> None:
        images = self._tools.images
        if images is None:
            raise Unready("no_containers", "this node runs no containers", NODE)
        await asyncio.to_thread(images.allowed_mounts, container, order.tenant)
        key = order.key
        await images.pull(
            container.image,
            container.pull,
            lambda line: log.info("image: %s", line, extra={"lease": key}),
        )

    async def _get_secrets(self, lease: Lease) -> None:
        order, secrets = lease.order, self._tools.secrets
        if secrets is None:
            raise Unready("no_secrets", "this node has no place for secrets", NODE)
        texts = await self._tools.depot.secrets(order)
        variables = {secret.env: texts[secret.name] for secret in order.secrets if secret.env}
        files = {secret.path: texts[secret.name] for secret in order.secrets if secret.path}
        if any("\0" in text for text in variables.values()):
            raise Unready("secret_not_text", "a secret with a NUL cannot be a variable", JOB)
        if files:
            try:
                variables[SECRETS_VARIABLE] = await asyncio.to_thread(
                    secrets.put, lease.key, files, order
                )
            except LookupError as error:
                raise Unready("no_such_user", str(error), NODE) from error
            except OSError as error:
                sentence = f"secrets cannot be laid down: {error.strerror}"
                raise Unready("disk_failed", sentence, NODE) from error
        self._variables[lease.key] = variables

    # -- after -------------------------------------------------------------------------------------
    async def _finish(self, lease: Lease) -> None:
        key = lease.key
        readying = self._readying.get(key)
        if readying is not None:
            readying.cancel()
            await asyncio.wait((readying,))
        self._variables.pop(key, None)
        outputs, failed = await self._store_outputs(lease)
        if lease.order.secrets and self._tools.secrets is not None:
            await asyncio.to_thread(self._tools.secrets.remove, key)
        while held := await self._what_holds(lease):
            self._tell_finished(key, outputs, held, failed)
            await asyncio.sleep(HELD_AGAIN_S)
        self._tell_finished(key, outputs, {}, failed)

    async def _store_outputs(self, lease: Lease) -> tuple[tuple[StoredOutput, ...], Unready | None]:
        """What is stored, and why one that is required is not."""
        order, stored, failed = lease.order, [], None
        if lease.slot is None or not isinstance(lease.untold, Exited) or lease.began_ms is None:
            return (), None
        work = self._slots.work(lease.slot)
        for wanted in order.outputs:
            try:
                stored.append(await self._tools.files.store(order, wanted, work))
            except Unready as error:
                log.info("an output is not stored: %s", error, extra={"lease": lease.key})
                failed = failed or (error if wanted.required else None)
            except Exception as error:
                log.exception("an output cannot be stored", extra={"lease": lease.key})
                failed = failed or _bug(wanted, error)
        return tuple(stored), failed

    async def _what_holds(self, lease: Lease) -> dict[str, str]:
        """What keeps its devices from being called free; those of work that never began, or that
        still has processes, are not asked."""
        checks = self._tools.checks
        ran = lease.began_ms is not None and lease.gone_ns is not None
        if checks is None or not self._state.checks or not ran:
            return {}
        devices = self._devices_of_its_own(lease)
        try:
            return await checks.after(devices)
        except Exception as error:  # a bug here neither frees a device nor holds it for ever
            log.exception("devices cannot be looked at", extra={"lease": lease.key})
            return dict.fromkeys(devices, f"its agent failed: {error!r}")

    def _tell_finished(
        self,
        key: str,
        outputs: tuple[StoredOutput, ...],
        held: dict[str, str],
        failed: Unready | None,
    ) -> None:
        self._take(
            Finished(
                at_ns=self._clock.boottime_ns(),
                key=key,
                outputs=outputs,
                held=held,
                code=failed.code if failed is not None else "",
                message=failed.message if failed is not None else "",
            )
        )

    def _devices_of_its_own(self, lease: Lease) -> list[str]:
        """Those that nothing else on this host uses now."""
        used = {
            uuid
            for other in self._state.leases.values()
            if other is not lease and other.stage in BUSY
            for uuid in other.order.devices
        }
        return [uuid for uuid in lease.order.devices if uuid not in used]


def _bug(wanted: Output, error: Exception) -> Unready:
    return Unready("not_stored", f"output {wanted.path}: its agent failed: {error!r}", NODE)


def _sentence(left: dict[str, str]) -> str:
    return "; ".join(f"device {uuid}: {reason}" for uuid, reason in left.items())
