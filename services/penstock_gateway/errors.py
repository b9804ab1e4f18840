"""How does a failure look over HTTP?

One body for all: `{"refusal": {code, message, field}}`, and a status that fits the code. Malformed
input never becomes a 500. It does not know routes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import msgspec
from aiohttp import web

from penstock_client.failures import Refused, Unavailable
from penstock_contracts.errors import Refusal
from penstock_gateway.payloads import ErrorAnswer

log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

RETRY_AFTER_S = 1
STATUS: dict[str, HTTPStatus] = {
    "unauthorized": HTTPStatus.UNAUTHORIZED,
    "unknown_job": HTTPStatus.NOT_FOUND,
    "unknown_node": HTTPStatus.NOT_FOUND,
    "unknown_verb": HTTPStatus.NOT_FOUND,
    "not_found": HTTPStatus.NOT_FOUND,
    "job_id_conflict": HTTPStatus.CONFLICT,
    "job_finished": HTTPStatus.CONFLICT,
    "policy_changed": HTTPStatus.CONFLICT,
    "request_too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "too_many_jobs": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "impossible": HTTPStatus.UNPROCESSABLE_ENTITY,
    "over_quota": HTTPStatus.UNPROCESSABLE_ENTITY,
    "backlog_full": HTTPStatus.TOO_MANY_REQUESTS,
    "queue_full": HTTPStatus.TOO_MANY_REQUESTS,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
}
"""Every other code means that the request itself is wrong: 400."""


def error_response(refusal: Refusal, status: HTTPStatus | None = None) -> web.Response:
    """The error body with its status."""
    status = status or STATUS.get(refusal.code, HTTPStatus.BAD_REQUEST)
    headers = {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="penstock"'
    elif status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return web.Response(
        body=msgspec.json.encode(ErrorAnswer(refusal)),
        status=status,
        content_type="application/json",
        headers=headers,
    )


def error_middleware(counters: Counter[str]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Turns what handlers raise into the error body. `counters` counts answers by status."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await _answered(request, handler)
        except ConnectionError:
            counters["aborted"] += 1
            raise  # the asker has left; nobody reads an error
        counters[str(response.status)] += 1
        return response

    return answer


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as error:
        return error_response(error.refusal)
    except Unavailable as error:
        return error_response(Refusal("unavailable", str(error), error.service))
    except web.HTTPRequestEntityTooLarge as error:
        return error_response(Refusal("request_too_large", error.text or "the body is too large"))
    except web.HTTPNotFound:
        return error_response(Refusal("not_found", f"there is nothing at {request.path[:200]}"))
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        refusal = Refusal("unknown_verb", f"{error.method[:20]} is not possible here: {allowed}")
        return error_response(refusal, HTTPStatus.METHOD_NOT_ALLOWED)
    except web.HTTPException as error:
        status = HTTPStatus(error.status)
        if status < HTTPStatus.BAD_REQUEST:
            raise
        return error_response(Refusal("invalid_field", error.reason), status)
    except (UnicodeDecodeError, web.RequestPayloadError) as error:
        return error_response(Refusal("malformed_json", f"the request is broken: {error}"))
    except ConnectionError:
        raise
    except Exception:  # one request's bug must not end the others
        log.exception("request failed", extra={"path": request.path})
        sentence = "the gateway has a bug; its log says more"
        return error_response(Refusal("unavailable", sentence), HTTPStatus.INTERNAL_SERVER_ERROR)
