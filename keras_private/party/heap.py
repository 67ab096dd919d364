"""Keeping memory while there is load, and giving it back to the system after it.

A run of a large model makes and frees arrays of tens of megabytes all the time. glibc would map and unmap each of them,
and the system would clear every page anew: half of a party's time. `keep_freed` has it keep them, in one arena for all
threads. What is freed is then kept because the next run may want it, and after a rush of large queries a party would
stay at its highest mark for ever: `HeapWatch` has it returned when it is no longer used. Other C libraries do so by
themselves, or offer nothing.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable

PAUSE_S = 5.0
"""Between two returns: pages that are wanted again cost time."""
WORTH_BYTES = 16 << 20


_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of mallopt, malloc.h
_MAPPED_BYTES, _KEPT_BYTES = 1 << 30, (1 << 31) - 1


def keep_freed() -> bool:
    """Have this process keep what it frees, for all threads that start from now on. Whether the C library can."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl
        return False
    mallopt.argtypes, mallopt.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
    settings = ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, _MAPPED_BYTES), (_TRIM_THRESHOLD, _KEPT_BYTES))
    done = [mallopt(*setting) for setting in settings]  # each of them, whatever the others say
    return all(done)


class HeapWatch:
    """Looked at every second or so.

    Args:
        take_peak: the most bytes that clients and runs held since the last call.
        used: what they hold now.
    """

    def __init__(self, take_peak: Callable[[], int], used: Callable[[], int]) -> None:
        self._take_peak = take_peak
        self._used = used
        self._trim = _trimmer()
        self._last = time.monotonic()
        self._peak = 0

    def look(self) -> bool:
        """Return memory if much was used and most of it no longer is. Whether it did."""
        self._peak = max(self._peak, self._take_peak())
        if time.monotonic() - self._last < PAUSE_S or self._peak - self._used() < max(WORTH_BYTES, self._peak // 2):
            return False
        self._peak, self._last = 0, time.monotonic()
        self._trim()
        return True


def _trimmer() -> Callable[[], None]:
    if not sys.platform.startswith("linux"):
        return lambda: None
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # musl
        return lambda: None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return lambda: trim(0) and None
