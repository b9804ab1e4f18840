"""How does a program use the mesh?

`Client` submits jobs and follows them; `penstock` is the same on the command line. Names are loaded
when first used, so that the command line starts fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock_client.client import Client
    from penstock_client.failures import NotFound, Refused, Unavailable
    from penstock_client.logs import LogChunk
    from penstock_client.submission import Submitted

__all__ = ["Client", "LogChunk", "NotFound", "Refused", "Submitted", "Unavailable"]

_HOMES = {
    "Client": "client",
    "LogChunk": "logs",
    "NotFound": "failures",
    "Refused": "failures",
    "Submitted": "submission",
    "Unavailable": "failures",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
