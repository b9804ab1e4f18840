"""How do many jobs become few durable requests, and what became of them?

Packs jobs into messages under the size limit, has each stored, and learns from facts and refusals
which jobs were accepted. It does not know files or command lines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import TypeVar

import msgspec

from penstock_bus.port import Bus, BusRefusal, Message, NoResponders, Outage
from penstock_client.failures import Refused, Unavailable, refuse
from penstock_client.subjects import ANY, subject_of
from penstock_contracts.errors import MALFORMED, Refusal
from penstock_contracts.jobs import JOBS_PER_REQUEST_MAX, REQUEST_BYTES_MAX, JobSpec
from penstock_contracts.public import JobEvent, RequestRefusal

APPEND_TIMEOUT_S = 2.0
STORE_S = 8.0
"""A broker that restarts is back by then."""
STORE_PAUSE_S = 0.1
CONFIRM_S = 5.0
"""How long to wait for the scheduler's word; the request is durable without it."""
LOOK_AFTER_S = 0.25
ACCEPTED = "queued"
"""`submitted` does not say it yet: a job that can never run is submitted, then rejected."""
LOOKS_MAX = 256
"""Jobs looked up one by one in the stream per round, when their live fact was missed."""
ERROR_STORE_FULL = 10077
_WRAP_BYTES = len(b'{"jobs":[]}')

T = TypeVar("T", bound=msgspec.Struct)

_decode_refusal = msgspec.json.Decoder(RequestRefusal).decode
_decode_event = msgspec.json.Decoder(JobEvent).decode
_encode = msgspec.json.Encoder().encode


class StoredRequest(msgspec.Struct, frozen=True):
    """One message, durable as `seq` of REQUESTS, and the jobs in it in order."""

    seq: int
    job_ids: tuple[str, ...]


class Submitted(msgspec.Struct, frozen=True):
    """`accepted` and `rejected` say what the scheduler decided; `pending`: it has not said yet."""

    requests: tuple[StoredRequest, ...]
    accepted: tuple[str, ...] = ()
    rejected: dict[str, Refusal] = {}
    refused: dict[str, Refusal] = {}
    pending: tuple[str, ...] = ()

    @property
    def job_ids(self) -> list[str]:
        """All jobs, in the order in which they were given."""
        return [job_id for request in self.requests for job_id in request.job_ids]


def check_spec(spec: JobSpec, field: str = "") -> None:
    """The rules that the scheduler will apply to the job by itself. Raises Refused."""
    checked(spec, field)
    if fault := spec.fault():
        code, sentence, at = fault
        raise refuse(code, sentence, ".".join(part for part in (field, at) if part))


def checked(wish: T, field: str = "") -> T:
    """The wish itself, when every field is in its bounds. Raises Refused."""
    try:
        msgspec.convert(msgspec.to_builtins(wish), type(wish))
    except msgspec.ValidationError as error:
        raise refuse("invalid_field", str(error), field) from error
    return wish


def packed(specs: Sequence[JobSpec], tenant: str) -> list[tuple[bytes, tuple[str, ...]]]:
    """The messages of a submission, nothing of it wrong by itself. Raises Refused."""
    subject_of("submit_job", tenant=tenant)
    for index, spec in enumerate(specs):
        check_spec(spec, f"jobs[{index}]" if len(specs) > 1 else "")
    return pack(specs)


def pack(specs: Sequence[JobSpec]) -> list[tuple[bytes, tuple[str, ...]]]:
    """Messages of at most REQUEST_BYTES_MAX and JOBS_PER_REQUEST_MAX jobs, in order.

    Raises Refused for a job that alone is too large.
    """
    messages: list[tuple[bytes, tuple[str, ...]]] = []
    parts: list[bytes] = []
    ids: list[str] = []
    size = _WRAP_BYTES

    def close() -> None:
        nonlocal size
        if parts:
            body = parts[0] if len(parts) == 1 else b'{"jobs":[' + b",".join(parts) + b"]}"
            messages.append((body, tuple(ids)))
        parts.clear()
        ids.clear()
        size = _WRAP_BYTES

    for spec in specs:
        encoded = _encode(spec)
        if len(encoded) + _WRAP_BYTES > REQUEST_BYTES_MAX:
            raise refuse(
                "request_too_large",
                f"job {spec.job_id} is {len(encoded)} bytes; "
                f"a request may have {REQUEST_BYTES_MAX}",
            )
        if size + len(encoded) + 1 > REQUEST_BYTES_MAX or len(parts) == JOBS_PER_REQUEST_MAX:
            close()
        parts.append(encoded)
        ids.append(spec.job_id)
        size += len(encoded) + 1
    close()
    return messages


async def store(bus: Bus, tenant: str, verb: str, payload: bytes) -> int:
    """Appends a request and returns its sequence: from here on it is durable.

    An outage is waited out by sending the same again, which is safe: the same job id is the same
    job. Raises Refused, and Unavailable after STORE_S.
    """
    subject = subject_of("submit_job" if verb == "submit" else "cancel_job", tenant=tenant)
    deadline = asyncio.get_running_loop().time() + STORE_S
    while True:
        try:
            return await _store_once(bus, subject, payload)
        except Unavailable:
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(STORE_PAUSE_S)


async def _store_once(bus: Bus, subject: str, payload: bytes) -> int:
    try:
        return (await bus.append(subject, payload, timeout_s=APPEND_TIMEOUT_S)).seq
    except NoResponders as error:
        raise Unavailable("the mesh takes no requests: its streams are not there") from error
    except Outage as error:
        raise Unavailable(f"the request was not acknowledged: {error}") from error
    except BusRefusal as error:
        if error.code == ERROR_STORE_FULL:
            raise refuse("backlog_full", "the mesh holds as many requests as it can") from error
        raise refuse("invalid_field", f"the broker refused the request: {error}") from error


class Confirmation:
    """What the scheduler says about jobs being submitted. `async with` subscribes."""

    def __init__(self, bus: Bus, tenant: str) -> None:
        self._bus = bus
        self._tenant = tenant
        self._heard: dict[str, Refusal | None] = {}
        self._undecided: set[str] = set()
        self._refusals: dict[int, RequestRefusal] = {}
        self._wake = asyncio.Event()
        self._stack = AsyncExitStack()

    def expect(self, job_ids: Iterable[str]) -> None:
        """Facts about these are to be kept; called before they are sent."""
        self._undecided.update(job_ids)

    async def __aenter__(self) -> Confirmation:
        facts: tuple[tuple[str, Callable[[Message], None]], ...] = (
            (self._fact(ANY, ACCEPTED), self._on_event),
            (self._fact(ANY, "rejected"), self._on_event),
            (subject_of("request_refused", tenant=self._tenant, request_seq=ANY), self._on_refusal),
        )
        subscriptions = await asyncio.gather(
            *(self._bus.subscribe(subject, handler) for subject, handler in facts)
        )
        for subscription in subscriptions:
            self._stack.push_async_callback(subscription.close)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def outcome(self, requests: Sequence[StoredRequest], timeout_s: float) -> Submitted:
        """Waits until every job is decided, or the time is over."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while not self._all_decided(refused := self._refused(requests)):
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0:
                break
            try:
                await asyncio.wait_for(self._wake.wait(), min(left_s, LOOK_AFTER_S))
            except TimeoutError:
                await self._look_up(requests)
            self._wake.clear()
        ids = [job_id for request in requests for job_id in request.job_ids]
        open_ids = self._undecided - refused.keys()
        return Submitted(
            requests=tuple(requests),
            accepted=tuple(j for j in ids if j in self._heard and self._heard[j] is None),
            rejected={j: v for j, v in self._heard.items() if v is not None},
            refused=refused,
            pending=tuple(j for j in ids if j in open_ids),
        )

    def refusal_of(self, seq: int) -> RequestRefusal | None:
        """The refusal of that request, when it has been heard."""
        return self._refusals.get(seq)

    def _all_decided(self, refused: dict[str, Refusal]) -> bool:
        return len(self._undecided) <= len(refused) and self._undecided <= refused.keys()

    def _refused(self, requests: Sequence[StoredRequest]) -> dict[str, Refusal]:
        found: dict[str, Refusal] = {}
        for request in requests:
            answer = self._refusals.get(request.seq)
            for item in answer.refused if answer is not None else ():
                if item.index < 0:
                    found.update(dict.fromkeys(request.job_ids, item.refusal))
                elif item.index < len(request.job_ids):
                    found[request.job_ids[item.index]] = item.refusal
        return found

    def _fact(self, job_id: str, fact: str) -> str:
        return subject_of("job_event", tenant=self._tenant, job_id=job_id, fact=fact)

    def _on_event(self, message: Message) -> None:
        _, job_id, fact = message.subject.rsplit(".", 2)
        if job_id in self._undecided:
            with suppress(*MALFORMED):  # not one of ours
                self._note(fact, job_id, message.payload)

    def _note(self, fact: str, job_id: str, payload: bytes) -> None:
        if fact == "rejected":
            event = _decode_event(payload)
            self._heard[job_id] = Refusal(event.reason or "impossible", event.message)
        else:
            self._heard.setdefault(job_id, None)
        self._undecided.discard(job_id)
        self._wake.set()

    def _on_refusal(self, message: Message) -> None:
        with suppress(*MALFORMED):  # not one of ours
            refusal = _decode_refusal(message.payload)
            self._refusals[refusal.request_seq] = refusal
            self._wake.set()

    async def _look_up(self, requests: Sequence[StoredRequest]) -> None:
        """Reads from the stream what was perhaps missed live."""
        try:
            for request in requests:
                subject = subject_of(
                    "request_refused", tenant=self._tenant, request_seq=str(request.seq)
                )
                stored = await self._bus.read_last("FACTS", subject)
                if stored is not None:
                    self._refusals[request.seq] = _decode_refusal(stored.payload)
            for job_id in sorted(self._undecided)[:LOOKS_MAX]:
                for fact in ("rejected", ACCEPTED):
                    stored = await self._bus.read_last("FACTS", self._fact(job_id, fact))
                    if stored is not None:
                        self._note(fact, job_id, stored.payload)
        except (Outage, BusRefusal, *MALFORMED):
            return  # the next round asks again, until the time is over


def raise_if_refused(submitted: Submitted) -> None:
    """For one job: its refusal or rejection as an exception."""
    for refusal in (*submitted.refused.values(), *submitted.rejected.values()):
        raise Refused(refusal)
