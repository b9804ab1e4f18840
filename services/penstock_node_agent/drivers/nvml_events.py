"""Which errors does the NVIDIA driver log, as they happen?

A thread waits in NVML and tells each XID. It ends when it is closed, whatever state the driver is
in, unless a call never comes back: then it is left behind. It does not know which XIDs matter.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from penstock_node_agent.drivers.nvml_calls import NVML_TIMEOUT, Nvml
from penstock_node_agent.drivers.nvml_cards import Card, address_of
from penstock_node_agent.drivers.port import DriverSilent

EVENT_XID = 0x08
"""nvmlEventTypeXidCriticalError."""
WAIT_MS = 1_000
PAUSE_S = 1.0
"""After a failure: NVML answers at once and for ever while one GPU is lost."""
JOIN_S_MAX = 5.0
WHOLE = 0xFFFFFFFF
"""The instance of an event that is about the whole GPU."""

log = logging.getLogger(__name__)
Told = Callable[[Card, int, int | None], None]
"""A card, the code of its error, and the GPU instance if it is about one only."""


class XidListener:
    """Tells from the moment it is made. `tell` is called on its thread."""

    def __init__(self, nvml: Nvml, cards: Sequence[Card], tell: Told) -> None:
        self._nvml, self._tell = nvml, tell
        self._card_at = {card.address: card for card in cards}
        self._ended = threading.Event()
        self._events = nvml.ask("nvmlEventSetCreate")
        heard = [card for card in cards if self._events is not None and self._register(card)]
        self.hears = frozenset(card.uuid for card in heard)
        self._thread: threading.Thread | None = None
        if heard:
            self._thread = threading.Thread(target=self._listen, name="xids", daemon=True)
            self._thread.start()

    def close(self) -> bool:
        """Whether the thread has ended: NVML may be ended only then."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(JOIN_S_MAX)
            if self._thread.is_alive():
                log.error("the driver does not come back from waiting for events")
                return False
        if self._events is not None:
            try:
                self._nvml.ask("nvmlEventSetFree", self._events)
            except DriverSilent as error:
                log.debug("its events went with the driver: %s", error)
            self._events = None
        return True

    def _register(self, card: Card) -> bool:
        """A GPU that does not support events is not listened to, and says so by its absence."""
        supported = card.ask("nvmlDeviceGetSupportedEventTypes", card.handle)
        if supported is None or not supported & EVENT_XID:
            return False
        try:
            self._nvml.module.nvmlDeviceRegisterEvents(card.handle, EVENT_XID, self._events)
        except self._nvml.module.NVMLError as error:
            log.warning("no errors will be heard of device %s: %s", card.uuid, error)
            return False
        return True

    def _listen(self) -> None:
        error_type = self._nvml.module.NVMLError
        while not self._ended.is_set():
            try:
                event = self._nvml.module.nvmlEventSetWait(self._events, WAIT_MS)
            except error_type as error:
                if getattr(error, "value", None) != NVML_TIMEOUT:
                    self._ended.wait(PAUSE_S)
                continue
            if not self._ended.is_set():
                self._take(event)

    def _take(self, event: Any) -> None:
        card = self._card_at.get(address_of(event.device))
        if card is None or not event.eventType & EVENT_XID:
            return
        instance = None if event.gpuInstanceId == WHOLE else int(event.gpuInstanceId)
        self._tell(card, int(event.eventData), instance)
