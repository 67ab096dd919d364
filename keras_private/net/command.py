"""What a command prints that its operator has named in cluster.yaml: a secret that lies in no file."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Final

from keras_private.errors import ConfigError

COMMAND_S: Final = 30.0
"""Seconds that such a command may take."""


def printed_by(command: Sequence[str], field: str) -> bytes:
    """What a program, run without a shell and with nothing to read, writes to its standard output.

    Args:
        command: the program and its arguments.
        field: which field of cluster.yaml names it, for errors; they never hold what was printed.

    Raises:
        ConfigError: it cannot be run, takes too long, or fails.
    """
    name = f"{field}: {command[0]}"
    try:
        done = subprocess.run(  # noqa: S603  the operator's own command, without a shell
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=COMMAND_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{name} did not end within {COMMAND_S:g} s") from None
    except OSError as error:
        raise ConfigError(f"{name} cannot be run: {error.strerror}") from None
    if done.returncode:
        raise ConfigError(f"{name} ended with exit code {done.returncode}")
    return done.stdout
