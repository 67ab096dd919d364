"""The progress bar of `serve`: drawn where it can be, never in the way.

Standard error may be closed, a pipe that nobody reads any more, or a file on a full disk. Queries are answered all the
same: what cannot be written is dropped.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any


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


@contextlib.contextmanager
def progress_bar(total: int | None) -> Iterator[Callable[[int], None]]:
    """Show how many requests were served while the block runs.

    Args:
        total: how many there will be; None: no end is known.

    Returns:
        What to call with the number served so far.
    """
    from tqdm import tqdm

    shape = "served {n_fmt} of {total_fmt} |{bar}| {elapsed}" if total else "served {n_fmt}, {elapsed}"
    with tqdm(total=total, bar_format=shape, file=_Screen()) as bar:

        def show(served: int) -> None:
            bar.update(served - bar.n)

        yield show
