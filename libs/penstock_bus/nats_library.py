"""Which parts of nats-py do we use, and at what price?

nats-py imports aiohttp for its websocket transport, which takes longer (about 150 ms) and holds
more memory than all the rest of it; nothing here speaks websockets, and nats-py runs without it.
So this is the one place that imports it. It does not know what is done with it.
"""

from __future__ import annotations

import sys

_absent = "aiohttp" not in sys.modules and "nats" not in sys.modules
if _absent:
    sys.modules["aiohttp"] = None  # type: ignore[assignment]
try:
    from nats import errors
    from nats.aio.client import Client, Server
    from nats.aio.subscription import Subscription
    from nats.protocol.parser import PERMISSIONS_ERR
finally:
    if _absent:
        del sys.modules["aiohttp"]

__all__ = ["PERMISSIONS_ERR", "Client", "Server", "Subscription", "errors"]
