"""How is a loop over arrays made fast?

`compiled` marks a function for numba where numba is installed; it stays plain Python else, and the
packer then uses the numpy versions. It does not know what the loops do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])

try:
    import numba
except ImportError:  # an installation for which there is no llvmlite
    HAS_NUMBA = False
else:
    HAS_NUMBA = True


def compiled(function: Function) -> Function:
    """The function as machine code, kept on disk so that the next process starts at once."""
    if not HAS_NUMBA:
        return function
    return cast(Function, numba.njit(cache=True, nogil=True)(function))
