"""Which inputs are worth keeping: those that take a way through the code that no shorter one takes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import keras_private

Step = tuple[str, int, int]
"""A file, and two of its lines of which one was run after the other."""
_PACKAGE = keras_private.__path__[0]


def steps(run: Callable[[bytes], None], data: bytes) -> set[Step]:
    """The steps within the package that `run` takes with an input."""
    found: set[Step] = set()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if not (file := frame.f_code.co_filename).startswith(_PACKAGE):
            return None
        before = frame.f_lineno

        def line(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal before
            if event == "line":
                found.add((file, before, frame.f_lineno))
                before = frame.f_lineno
            return line

        return line

    sys.settrace(trace)
    try:
        run(data)
    finally:
        sys.settrace(None)
    return found


def worth_keeping(run: Callable[[bytes], None], known: Iterable[bytes], new: Iterable[bytes]) -> list[bytes]:
    """Of `new`, the shortest first, those that take a step that neither `known` nor one before them takes."""
    seen: set[Step] = set()
    for data in known:
        seen |= steps(run, data)
    found = []
    for data in sorted(set(new), key=lambda data: (len(data), data)):
        taken = steps(run, data)
        if not taken <= seen:
            seen |= taken
            found.append(data)
    return found
