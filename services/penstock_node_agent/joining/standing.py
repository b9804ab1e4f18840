"""How does a host that has joined stay a node?

Connects as what it is in the mesh, asks for its next claims long before the last ones run out, and
learns when it is a node no more. It does not know how a host joins for the first time.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import msgspec

from penstock_bus.credentials import expiry_s
from penstock_bus.nats import connect, server_urls
from penstock_bus.pinning import trusting
from penstock_bus.port import Bus, BusRefusal, Outage
from penstock_contracts.roles import NODE_INBOX_PREFIX, ORDERS_PREFIX
from penstock_node_agent.config import Config
from penstock_node_agent.host import ReaperDoor
from penstock_node_agent.joining.admission import NotAdmitted, renew
from penstock_node_agent.joining.membership import Membership, MembershipFiles
from penstock_node_agent.reaper.disk import Disk
from penstock_runtime.process import StopSignal

REVOKED = "key_revoked"
PUT_OUT = "this host is no node any more"
CONNECT_S = 2.0
RENEW_AT_SHARE = 0.5
"""Of what is left of the claims: the bus comes back with new ones at two thirds."""
RENEW_S_MIN = 2.0
RETRY_S = 5.0
LEAVE_S_MAX = 6.5
EXIT_NOT_ADMITTED = 77
"""EX_NOPERM of sysexits: starting again does not help."""
LOOPBACK = "127.0.0.1"

Connect = Callable[[], Awaitable[Bus]]

log = logging.getLogger(__name__)


class Standing:
    """A member over its files. `now_s` is the wall clock."""

    def __init__(
        self, config: Config, member: Membership, files: MembershipFiles, now_s: Callable[[], float]
    ) -> None:
        self.member, self._files, self._now_s = member, files, now_s
        self.put_out = False
        self._ended = asyncio.Event()
        self._context: ssl.SSLContext = trusting(files.certificate())
        self.config = _as_member(config, member, files)

    async def dial(self) -> Bus:
        """Raises Outage; NotAdmitted when this host is no node any more."""
        config = self.config
        try:
            return await connect(
                config.nats_url,
                name=f"penstock-node-{config.node}",
                credentials=str(self._files.creds),
                inbox_prefix=NODE_INBOX_PREFIX + config.node,
                subscribe_prefix=ORDERS_PREFIX,
                tls=self._context,
                connect_timeout_s=CONNECT_S,
                on_credentials_ended=self._ended.set,
            )
        except BusRefusal as error:
            await self._renew()
            raise Outage("the broker did not take the old credential") from error

    async def live(
        self,
        live: Callable[[Connect, StopSignal], Awaitable[int]],
        reaper: ReaperDoor,
        stop: StopSignal,
    ) -> int:
        """Be the agent of this node, for as long as it is one; returns the exit code."""
        keeping = asyncio.ensure_future(self.keep(stop.request))
        try:
            code = await live(self.dial, stop)
        except NotAdmitted as error:
            log.error("%s: %s", PUT_OUT, error, extra={"node": self.member.node})
            await reaper.end(LEAVE_S_MAX)
            return EXIT_NOT_ADMITTED
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        return EXIT_NOT_ADMITTED if self.put_out else code

    async def keep(self, stop: Callable[[str], None]) -> None:
        """Renews for ever; calls `stop` when this host is a node no more."""
        delay_s = self._delay_s()
        while True:
            try:
                await asyncio.wait_for(self._ended.wait(), delay_s)
            except TimeoutError:
                log.info("asking for the next credential", extra={"node": self.member.node})
            self._ended.clear()
            try:
                await self._renew()
                delay_s = max(self._delay_s(), RENEW_S_MIN)
                await asyncio.sleep(RENEW_S_MIN)
            except Outage as error:
                log.warning("no new credential yet: %s", error)
                delay_s = RETRY_S
            except NotAdmitted as error:
                log.error("%s: %s", PUT_OUT, error, extra={"node": self.member.node})
                self.put_out = True
                stop(PUT_OUT)
                return

    async def _renew(self) -> None:
        """Only inventory's word that the key was revoked ends anything: whoever else does not know
        us may be mistaken, and what runs here goes on."""
        member = msgspec.structs.replace(self.member, url=self.config.nats_url)
        try:
            await renew(member, self._files)
        except NotAdmitted as error:
            if error.refusal.code == REVOKED:
                raise
            raise Outage(str(error)) from error

    def _delay_s(self) -> float:
        expires_s = expiry_s(str(self._files.creds))
        if expires_s is None:
            return RENEW_S_MIN
        left_s = max(expires_s - self._now_s(), 0.0)
        return left_s * RENEW_AT_SHARE


def _as_member(config: Config, member: Membership, files: MembershipFiles) -> Config:
    """The settings with what the mesh has said; a given address of the broker stands."""
    url = member.url if config.nats_url == Config().nats_url else config.nats_url
    address = config.advertise_address
    return msgspec.structs.replace(
        config,
        node=member.node,
        nats_url=url,
        nats_creds=files.creds,
        labels={**config.labels, **member.labels},
        advertise_address=_towards(url) if address == LOOPBACK else address,
    )


def _towards(url: str) -> str:
    """The address of this host from which it reaches the broker: others reach it there, too."""
    place = urlsplit(server_urls(url)[0])
    try:
        found = socket.getaddrinfo(place.hostname, place.port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, target = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(target)
            address: str = probe.getsockname()[0]
    except OSError:
        return LOOPBACK
    return address


def standing_of(config: Config) -> Standing | None:
    """What this host is in the mesh that it has joined; None when it has not, or is told whose
    credential to use. Raises MembershipUnreadable."""
    if config.nats_creds is not None:
        return None
    files = MembershipFiles(Disk(), config.membership)
    member = files.load()
    return None if member is None else Standing(config, member, files, time.time)
