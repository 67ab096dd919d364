"""What an operator reads: one JSON line an event, on standard error, never a share, a key or a weight.

    {"event": "run done", "party": "server0", "requests": 3, "rows": 96, "rounds": 27, "bytes": 512000, "ms": 31.2, …}

`KERAS_PRIVATE_LOG` sets the least level that is written: debug, info (a party's default), warning, error.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, Protocol

import structlog

LEVEL_VARIABLE = "KERAS_PRIVATE_LOG"


class Log(Protocol):
    """The part of structlog's loggers that is used here."""

    def debug(self, event: str, **fields: Any) -> None: ...
    def info(self, event: str, **fields: Any) -> None: ...
    def warning(self, event: str, **fields: Any) -> None: ...
    def error(self, event: str, **fields: Any) -> None: ...


def party_log(party: str, level: str = "info") -> Log:
    """A logger whose every line names the party.

    Args:
        level: used where the environment does not say otherwise; a word that is no level means info.
    """
    wanted = os.environ.get(LEVEL_VARIABLE, level).upper()
    logger = structlog.wrap_logger(
        structlog.WriteLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping().get(wanted, logging.INFO)),
        context_class=dict,
    )
    bound: Log = logger.bind(party=party)
    return bound
