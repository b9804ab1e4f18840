"""How is a loop over arrays made fast?

Functions are marked for numba where numba is installed; they stay plain Python else, and the packer
then uses the numpy versions. It does not know what the loops do.
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
    _njit: Any = numba.njit


def compiled(function: Function) -> Function:
    """The function as machine code, kept on disk so that the next process starts at once."""
    return _compiled(function)


def compiled_in_place(function: Function) -> Function:
    """The same for one that makes no arrays: without numba's counting of who uses which, which
    takes nine tenths of the time of functions as small as ours."""
    return _compiled(function, _nrt=False)


def _compiled(function: Function, **options: bool) -> Function:
    if not HAS_NUMBA:
        return function
    try:
        return cast(Function, _njit(cache=True, nogil=True, **options)(function))
    except RuntimeError:  # no directory is writable: every process compiles anew
        return cast(Function, _njit(nogil=True, **options)(function))
