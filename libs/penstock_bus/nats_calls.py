"""How is a question put to the broker and its answer awaited?

Requests over the shared reply inbox, with and without waiting, and JetStream's API as typed errors.
It does not know streams, readers or buckets."""

from __future__ import annotations

import asyncio
from typing import Any

from penstock_bus import wire
from penstock_bus.connection import Connection
from penstock_bus.port import BusRefusal, Headers, Outage
from penstock_bus.replies import OnReply, ReplyBox

API_TIMEOUT_S = 5.0

Reply = tuple[bytes, "bytes | None"]
"""(payload, header block)"""


class Calls:
    def __init__(self, connection: Connection, box: ReplyBox) -> None:
        self._connection = connection
        self._box = box
        self._failing_since: float | None = None

    # -- does the storage behind this server work? -----------------------------------------------
    def storage_answered(self) -> None:
        self._failing_since = None

    def storage_failed(self, error: Exception) -> None:
        if isinstance(error, Outage) and self._failing_since is None:
            self._failing_since = asyncio.get_running_loop().time()

    @property
    def storage_failing_s(self) -> float:
        """Seconds since the first of the failures in a row; 0 when the last call was answered."""
        since = self._failing_since
        return 0.0 if since is None else asyncio.get_running_loop().time() - since

    def ask_nowait(
        self,
        subject: str,
        payload: bytes,
        on_reply: OnReply,
        timeout_s: float,
        headers: Headers | None = None,
    ) -> None:
        """`on_reply` is called exactly once, never before this returns."""
        number = None
        try:
            number, reply_to = self._box.expect(subject, timeout_s, on_reply)
            self._connection.publish_nowait(subject, reply_to, payload, headers)
        except (Outage, BusRefusal) as error:
            if number is not None:
                self._box.forget(number)
            asyncio.get_running_loop().call_soon(on_reply, b"", None, error)
        except ValueError:
            if number is not None:
                self._box.forget(number)
            raise

    async def ask(
        self, subject: str, payload: bytes, timeout_s: float, headers: Headers | None = None
    ) -> Reply:
        """One reply, or Outage / NoResponders / BusRefusal."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def on_reply(payload: bytes, block: bytes | None, error: Exception | None) -> None:
            if future.done():
                return
            error = error or wire.error_of_reply(payload, wire.decode_status(block), subject)
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result((payload, block))

        self.ask_nowait(subject, payload, on_reply, timeout_s, headers)
        return await future

    async def ask_many(self, subject: str, payload: bytes, timeout_s: float) -> list[Reply]:
        """All replies up to the one that ends the batch (status 204, or any error status), which
        is the last of the list."""
        future: asyncio.Future[list[Reply]] = asyncio.get_running_loop().create_future()
        replies: list[Reply] = []

        def on_reply(payload: bytes, block: bytes | None, error: Exception | None) -> None:
            if future.done():
                return
            status = wire.decode_status(block)
            error = error or wire.error_of_reply(payload, status, subject)
            if error is not None:
                self._box.forget(number)
                future.set_exception(error)
                return
            replies.append((payload, block))
            if status:
                self._box.forget(number)
                future.set_result(replies)

        number, reply_to = self._box.expect(subject, timeout_s, on_reply, many=True)
        try:
            self._connection.publish_nowait(subject, reply_to, payload, None)
            return await future
        finally:
            self._box.forget(number)

    async def api(
        self, subject: str, body: dict[str, Any] | None = None, timeout_s: float = API_TIMEOUT_S
    ) -> dict[str, Any]:
        """One call of JetStream's API (`$JS.API.` + `subject`); its error object is raised."""
        try:
            result = await self._api(subject, body, timeout_s)
        except Exception as error:
            self.storage_failed(error)
            raise
        self.storage_answered()
        return result

    async def _api(
        self, subject: str, body: dict[str, Any] | None, timeout_s: float
    ) -> dict[str, Any]:
        payload = wire.encode_json(body) if body is not None else b""
        answer, _ = await self.ask("$JS.API." + subject, payload, timeout_s)
        result = wire.decode_json(answer)
        error = result.get("error")
        if error is not None:
            raise wire.error_of_api(
                wire.ApiError(
                    error.get("code", 0), error.get("err_code", 0), error.get("description", "")
                ),
                subject,
            )
        return result


def is_refusal(error: Exception, *codes: int) -> bool:
    return isinstance(error, BusRefusal) and error.code in codes
