"""What a command of the operator's prints: a key, or a password."""

from __future__ import annotations

import os
import select
import subprocess
import time
from typing import Final

from keras_private.errors import ConfigError

COMMAND_S: Final = 30.0
"""Seconds that a command may take."""


def output_of(command: tuple[str, ...], name: str, most: int) -> bytes:
    """Run a program, without a shell and without an input.

    Args:
        command: the program and its arguments.
        name: what errors call it; they never show what it prints.
        most: bytes; one that prints more is ended.

    Raises:
        ConfigError: it cannot be run, prints too much, does not end in time, or ends with an error.
    """
    deadline = time.monotonic() + COMMAND_S
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)  # noqa: S603
    except OSError as error:
        raise ConfigError(f"{name} cannot be run: {error.strerror}") from None
    with process:
        try:
            output = _read(process, most, deadline)
            code = process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise ConfigError(f"{name} did not end within {COMMAND_S:g} s") from None
        finally:
            process.kill()
    if len(output) > most:
        raise ConfigError(f"{name} printed more than {most} bytes")
    if code:
        raise ConfigError(f"{name} ended with exit code {code}")
    return output


def _read(process: subprocess.Popen[bytes], most: int, deadline: float) -> bytes:
    """What it prints, up to its end or one byte more than it may."""
    output, pipe = b"", process.stdout.fileno() if process.stdout else -1
    poller = select.poll()
    poller.register(pipe, select.POLLIN)
    while poller.poll(1000 * max(0.0, deadline - time.monotonic())):
        piece = os.read(pipe, most + 1 - len(output))
        output += piece
        if len(output) > most:
            process.kill()
            return output
        if not piece:
            return output
    raise subprocess.TimeoutExpired(process.args, COMMAND_S)
