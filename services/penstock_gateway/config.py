"""Which settings does the gateway have?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from penstock_runtime.config import CommonConfig, Port

HTTP_PORT_DEFAULT = 8470


class Config(CommonConfig, frozen=True, kw_only=True):
    """The common settings, and who may use the API. The API, health and metrics share one port."""

    http_port: Annotated[Port | None, Meta(description="Port of the HTTP API; 0 = a free one.")] = (
        HTTP_PORT_DEFAULT
    )
    secrets_key: Annotated[
        Path | None,
        Meta(
            description="File with the key that opens tenants' secrets, made when it is missing; "
            "all gateways need the same; unset = secrets.key in the data directory."
        ),
    ] = None
    token_file: Annotated[
        Path | None,
        Meta(
            description="File with the bearer token that /v1 asks for; without it /v1 is open, "
            "which is allowed on loopback only."
        ),
    ] = None
