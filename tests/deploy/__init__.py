"""What `deploy/` gives to operators: held to schemas, to the package's own configuration, and to each other."""

from __future__ import annotations

import re
from pathlib import Path

import typer.main

from keras_private.cli import app
from keras_private.config import Limits

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PARTY_PORT, METRICS_PORT = 4000, 9464
USER = 10001  # in an image
STOP_S = 15
"""What ending in good order may take, once what ran is finished."""


def options_of(arguments: list[str]) -> dict[str, object]:
    """What `keras-private <arguments>` would be called with; raises click's error if the command does not know them."""
    group = typer.main.get_command(app)
    command = group.get_command(group.make_context("keras-private", arguments[:1]), arguments[0])  # type: ignore[attr-defined]
    assert command is not None, arguments
    found: dict[str, object] = command.make_context(arguments[0], arguments[1:]).params
    return found


def seconds(text: str | int) -> float:
    """'90s', '5min' or a number as seconds."""
    match = re.fullmatch(r"(\d+)(s|min|)", str(text))
    assert match, text
    return int(match[1]) * {"s": 1, "min": 60, "": 1}[match[2]]


def needed_bytes(limits: Limits) -> int:
    """The least that a party with these limits must be given: what it may take, and the process itself."""
    return limits.memory_bytes + limits.models_bytes + (512 << 20)
