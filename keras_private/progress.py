"""Progress bars, of `serve` and of long queries: drawn where they can be, never in the way.

Standard error may be closed, a pipe that nobody reads any more, or a file on a full disk. Queries are answered all the
same: what cannot be written is dropped.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

_LONG_S = 2.0
"""A query that takes less has no bar."""


class _Screen:
    """Standard error, as tqdm uses it; write errors are dropped."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # broken, closed, or none at all
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:  # its encoding, its width
        return getattr(sys.stderr, name)


class ServingBar:
    """How many requests were served, and a line above for whatever keeps serving from going on.

    Args:
        bar: a `tqdm`.
        quiet: no bar is drawn, and what would be a line goes to the log of this process (logger `keras_private`).
    """

    def __init__(self, bar: Any, screen: _Screen, *, quiet: bool) -> None:
        self._bar = bar
        self._screen = screen
        self._quiet = quiet

    def show(self, served: int) -> None:
        """So many were served so far."""
        self._bar.update(served - self._bar.n)

    def trouble(self, text: str) -> None:
        """No query can be run, for this reason; empty: that is over."""
        line = f"serving is held up: {text}" if text else "serving goes on"
        if self._quiet:
            with contextlib.suppress(OSError, ValueError):  # logging itself writes to standard error in the end
                logging.getLogger("keras_private").warning(line)
        else:
            self._bar.write(line, file=self._screen)


@contextlib.contextmanager
def serving_bar(total: int | None, *, quiet: bool = False) -> Iterator[ServingBar]:
    """Show on standard error how serving goes on while the block runs.

    Args:
        total: how many requests there will be; None: no end is known.
        quiet: see `ServingBar`.
    """
    from tqdm import tqdm

    shape = "served {n_fmt} of {total_fmt} |{bar}| {elapsed}" if total else "served {n_fmt}, {elapsed}"
    screen = _Screen()
    with tqdm(total=total, bar_format=shape, file=screen, disable=quiet) as bar:
        yield ServingBar(bar, screen, quiet=quiet)


@contextlib.contextmanager
def rows_bar(total: int, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Show on standard error, if it is a terminal and the block takes seconds, how many rows were answered.

    Args:
        total: how many rows there are.
        quiet: no bar is drawn.

    Returns:
        what is to be called with the number of rows that were answered since the last call.
    """
    from tqdm import tqdm

    screen = _Screen()
    terminal = False
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none at all
        terminal = sys.stderr.isatty()
    shape = "answered {n_fmt} of {total_fmt} rows |{bar}| {elapsed}<{remaining}"
    with tqdm(
        total=total, bar_format=shape, file=screen, disable=quiet or not terminal, delay=_LONG_S, leave=False
    ) as bar:

        def answered(rows: int) -> None:
            bar.update(rows)

        yield answered
