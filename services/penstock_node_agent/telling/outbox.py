"""How does what a node owes reach its stream?

One lane per stream: one message is under way, what is owed meanwhile is gathered into the next. A
message that was not acknowledged is sent again, the same bytes under the same id, for ever. It does
not know what is in it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from penstock_bus.port import Appended, Bus

RETRY_S_MIN = 0.25
RETRY_S_MAX = 2.0

log = logging.getLogger(__name__)


class Parcel(msgspec.Struct, frozen=True):
    """One message. `done` is called once, when it is stored. `subject` if not the lane's own."""

    payload: bytes
    message_id: str
    done: Callable[[Appended], None]
    subject: str = ""


class Lane:
    """`form` gives the next parcel or None; it is called only by `pump`, when the last one is
    stored. Between two parcels lie at least `spacing_s`, unless `pump` is asked to hurry; when a
    parcel that had to wait may go, `wake` asks the owner to pump."""

    def __init__(
        self,
        bus: Bus,
        subject: str,
        form: Callable[[], Parcel | None],
        *,
        wake: Callable[[], None],
        spacing_s: float = 0.0,
    ) -> None:
        self._bus, self._subject, self._form = bus, subject, form
        self._wake = wake
        self._spacing_s = spacing_s
        self._loop = asyncio.get_running_loop()
        self._parcel: Parcel | None = None
        self._flying = False
        self._timer: asyncio.TimerHandle | None = None
        self._not_before = 0.0
        self._retry_s = RETRY_S_MIN
        self._closed = False
        self.failures = 0

    @property
    def idle(self) -> bool:
        return self._parcel is None

    def pump(self, *, hurry: bool = False) -> None:
        """Send the next parcel if the lane is free."""
        if self._parcel is not None or self._closed:
            return
        wait_s = self._not_before - self._loop.time()
        if wait_s > 0 and not hurry:
            if self._timer is None:
                self._timer = self._loop.call_later(wait_s, self._later)
            return
        self._parcel = self._form()
        if self._parcel is not None:
            self._not_before = self._loop.time() + self._spacing_s
            self._send()

    def retry(self) -> None:
        """The connection is back: send what is under way at once."""
        if self._timer is not None and self._parcel is not None and not self._flying:
            self._timer.cancel()
            self._later()

    def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _later(self) -> None:
        self._timer = None
        if self._parcel is None:
            self._wake()
        elif not self._flying:
            self._send()

    def _send(self) -> None:
        if self._parcel is None or self._closed:
            return
        self._flying = True
        self._bus.append_nowait(
            self._parcel.subject or self._subject,
            self._parcel.payload,
            self._answered,
            message_id=self._parcel.message_id,
        )

    def _answered(self, result: Appended | Exception) -> None:
        self._flying = False
        parcel = self._parcel
        if self._closed or parcel is None:
            return
        if isinstance(result, Exception):
            if self.failures == 0 or self._retry_s == RETRY_S_MIN:
                log.warning("not stored, will be sent again: %s", result)
            self.failures += 1
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(self._retry_s, self._later)
            self._retry_s = min(self._retry_s * 2, RETRY_S_MAX)
            return
        self._retry_s = RETRY_S_MIN
        self._parcel = None
        parcel.done(result)
        self._wake()
