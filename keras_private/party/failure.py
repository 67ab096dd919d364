"""Why a lane failed: who seems to have begun it, and what others may hear of it."""

from __future__ import annotations

import re

from keras_private.config import PARTY_NAMES
from keras_private.errors import KerasPrivateError, LinkError

_ARROW = re.compile(r"(server[012]) [←→↔] (server[012])")


def suspect_of(error: Exception, own: int) -> int:
    """The party at which an error seems to have begun: the far side of the last connection that it names."""
    sides = _ARROW.findall(str(error)) if isinstance(error, LinkError) else []
    return PARTY_NAMES.index(sides[-1][1]) if sides else own


def cause_of(error: Exception) -> str:
    """What others may hear of an error: a defect's own words could hold anything."""
    return str(error) if isinstance(error, KerasPrivateError) else f"{type(error).__name__}, see that party's log"
