"""Where is the mesh, and who am I there?

Flags win over the environment, the environment over the user's context file, which `penstock up`
writes. It does not connect.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from penstock_client.failures import refuse

if TYPE_CHECKING:
    import ssl

ENV_URL = "PENSTOCK_NATS_URL"
ENV_CREDS = "PENSTOCK_NATS_CREDS"
URL_DEFAULT = "nats://127.0.0.1:4222"


class Context(msgspec.Struct, frozen=True, omit_defaults=True):
    """The context file. Paths are absolute; empty = not said."""

    nats_url: str = ""
    creds: str = ""
    http_url: str = ""
    http_token_file: str = ""
    ca: str = ""


class Address(msgspec.Struct, frozen=True):
    """Where to connect, and the path of the credential; None = without one. `ca`: the file by which
    the mesh is trusted; None = the system's authorities."""

    url: str
    creds: str | None
    source: str
    ca: str | None = None


def context_path(environ: Mapping[str, str] | None = None) -> Path:
    """`${XDG_CONFIG_HOME:-~/.config}/penstock/context.json`."""
    environ = os.environ if environ is None else environ
    base = environ.get("XDG_CONFIG_HOME") or os.path.join(
        environ.get("HOME") or str(Path.home()), ".config"
    )
    return Path(base) / "penstock" / "context.json"


def read_context(environ: Mapping[str, str] | None = None) -> Context:
    """The user's context; an absent file is an empty one. Raises Refused if it is unreadable."""
    path = context_path(environ)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Context)
    except FileNotFoundError:
        return Context()
    except (OSError, msgspec.DecodeError) as error:
        raise refuse("invalid_field", f"cannot read the context file {path}: {error}") from error


def resolve(
    url: str | None, creds: str | None, environ: Mapping[str, str] | None = None
) -> Address:
    """Each of the two by itself: flag, then environment, then context file, then the default.

    A credential of the context belongs to the context's mesh: with another address it is not sent.
    """
    environ = os.environ if environ is None else environ
    context = read_context(environ)
    given = url or environ.get(ENV_URL)
    found = given or context.nats_url or URL_DEFAULT
    own = creds or environ.get(ENV_CREDS)
    at_home = not given or given == context.nats_url
    if own is None and at_home:
        own = context.creds or None
    where = "--url" if url else ENV_URL if given else "context" if context.nats_url else "default"
    return Address(found, own or None, where, (context.ca or None) if at_home else None)


def trust_of(address: Address) -> ssl.SSLContext | None:
    """How the mesh's certificate is judged; None = as the system does. Raises OSError."""
    if address.ca is None:
        return None
    import ssl

    return ssl.create_default_context(cafile=address.ca)
