"""The terminal of `serve.py`, `client.py` and `demo.py`, which may be closed, or a pipe that nobody reads any more.

What a person is told is not worth a query: when it cannot be written, it is dropped, and the work goes on.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO


def open_standard_streams() -> None:
    """Put the null device where standard input, output or error is closed (`serve.py >&-`).

    Otherwise the next file or connection would take its number, and what is written to the terminal would go there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115  to the end of the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def say(message: str) -> None:
    """Print a line for the person at the terminal."""
    _write(message, sys.stdout)


def complain(message: str) -> None:
    """Print a line on standard error."""
    _write(message, sys.stderr)


def _write(message: str, stream: TextIO) -> None:
    try:
        print(message, file=stream, flush=True)
    except OSError:  # nobody reads, or the disk is full: from now on, and at the end, nothing is written
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
