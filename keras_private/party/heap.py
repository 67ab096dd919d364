"""Giving memory back to the system after load.

glibc keeps what is freed, for every thread's arena, because the next run may want it: after a rush of large queries a
party would stay at its highest mark for ever. `HeapWatch` has it returned when it is no longer used. Other C libraries
do so by themselves, or offer nothing.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable

PAUSE_S = 5.0
"""Between two returns: pages that are wanted again cost time."""
WORTH_BYTES = 16 << 20


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
