"""How is a service asked, and what does its answer mean?

One request-reply on the registry's subject, the answer decoded into the declared type, a refusal or
an outage raised as such. It does not know what is asked.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from penstock_bus.port import Bus, NoResponders, Outage
from penstock_client.failures import Unavailable, refused
from penstock_contracts.errors import MALFORMED, Refusal
from penstock_contracts.registry import BY_NAME

T = TypeVar("T")

QUERY_TIMEOUT_S = 5.0


class _Envelope(msgspec.Struct):
    value: msgspec.Raw = msgspec.Raw()
    refusal: Refusal | None = None


_envelope = msgspec.json.Decoder(_Envelope)


async def ask(
    bus: Bus,
    service: str,
    what: str,
    payload: Any,
    answer: type[T],
    timeout_s: float = QUERY_TIMEOUT_S,
) -> T:
    """What `query.<service>.<what>` answers. Raises Refused and Unavailable."""
    subject = BY_NAME[f"query_{service}_{what}"].template
    return await ask_on(bus, subject, service, payload, answer, timeout_s)


async def order(
    bus: Bus, what: str, command: Any, answer: type[T], timeout_s: float = QUERY_TIMEOUT_S
) -> T:
    """What `command.metering.<what>` is answered, once it is committed. Raises Refused and
    Unavailable."""
    subject = BY_NAME[f"command_metering_{what}"].template
    return await ask_on(bus, subject, "metering", command, answer, timeout_s)


async def ask_on(
    bus: Bus, subject: str, service: str, payload: Any, answer: type[T], timeout_s: float
) -> T:
    """The same on any request-reply subject."""
    try:
        message = await bus.request(subject, msgspec.json.encode(payload), timeout_s=timeout_s)
    except NoResponders as error:
        raise Unavailable(f"the {service} service is not there", service=service) from error
    except Outage as error:
        sentence = f"the {service} service did not answer within {timeout_s:g} s"
        raise Unavailable(sentence, service=service) from error
    return decode_answer(message.payload, answer, service)


def decode_answer(payload: bytes, answer: type[T], service: str) -> T:
    """The value inside an answer, or its refusal raised."""
    try:
        envelope = _envelope.decode(payload)
        if envelope.refusal is not None:
            raise refused(envelope.refusal)
        inner = bytes(envelope.value) or payload
        return msgspec.json.decode(inner, type=answer)
    except MALFORMED as error:
        raise Unavailable(
            f"the {service} service answered something this version does not understand: {error}",
            service=service,
        ) from error
