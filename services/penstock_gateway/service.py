"""How does the gateway live?

Wiring: one connection to the mesh, the HTTP application and the depot around it, an orderly end. It
holds no state but the key of secrets: any number of gateways may run side by side. It does not know
the operations.
"""

from __future__ import annotations

import logging
import ssl
from ipaddress import ip_address

from aiohttp import web

from penstock_bus.nats import connect
from penstock_client.client import Client
from penstock_gateway.app import make_app
from penstock_gateway.config import HTTP_PORT_DEFAULT, Config
from penstock_gateway.depot import Depot
from penstock_gateway.depot_files import FileKeeper
from penstock_gateway.depot_secrets import KEY_NAME, SecretKeeper, load_key
from penstock_runtime.clock import SystemClock
from penstock_runtime.config import ConfigError
from penstock_runtime.logs import configure_logging
from penstock_runtime.process import StopSignal, run_service

DRAIN_S = 2.0
"""Requests may end by themselves that long; streams are cut, and their readers come back."""

log = logging.getLogger(__name__)


def serve(config: Config) -> int:
    """The gateway's process. Raises ConfigError before it starts."""
    configure_logging("gateway", config.log_level)
    token = read_token(config)
    tls = tls_context(config)
    key = load_key(config.secrets_key or config.data_dir / KEY_NAME)

    async def main(stop: StopSignal) -> int:
        bus = await connect(
            config.nats_url,
            name="penstock-gateway",
            credentials=str(config.nats_creds) if config.nats_creds else None,
        )
        now_ns = SystemClock().now_ns
        depot = Depot(bus, FileKeeper(bus, now_ns), SecretKeeper(bus, key, now_ns))
        try:
            await depot.open()
            await serve_until(stop, make_app(Client(bus), token=token), config, tls)
        finally:
            await depot.close()
            await bus.close()
        return 0

    return run_service(main, "gateway")


async def serve_until(
    stop: StopSignal, app: web.Application, config: Config, tls: ssl.SSLContext | None
) -> None:
    """Listens until the stop is requested."""
    runner = web.AppRunner(
        app, access_log=None, handler_cancellation=True, shutdown_timeout=DRAIN_S
    )
    await runner.setup()
    try:
        port = HTTP_PORT_DEFAULT if config.http_port is None else config.http_port
        site = web.TCPSite(runner, config.http_host, port, ssl_context=tls)
        await site.start()
        log.info("listening", extra={"addresses": [str(address) for address in runner.addresses]})
        await stop.wait()
    finally:
        await runner.cleanup()


def read_token(config: Config) -> str | None:
    """The bearer token. Raises ConfigError: an open API is for loopback only."""
    if config.token_file is None:
        if not is_loopback(config.http_host):
            raise ConfigError(
                f"setting token_file is missing: on {config.http_host} the API needs a token"
            )
        return None
    try:
        token = config.token_file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"setting token_file is wrong: {error}") from error
    if not token:
        raise ConfigError(f"setting token_file is wrong: {config.token_file} is empty")
    return token


def tls_context(config: Config) -> ssl.SSLContext | None:
    """TLS where a certificate is given. Raises ConfigError: the network needs it."""
    if config.tls_cert is None:
        if not is_loopback(config.http_host):
            raise ConfigError(
                f"setting tls_cert is missing: on {config.http_host} the API needs TLS"
            )
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"settings tls_cert and tls_key are wrong: {error}") from error
    return context


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
