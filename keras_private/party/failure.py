"""Why a lane failed: who seems to have begun it, and what others may hear of it."""

from __future__ import annotations

from keras_private.config import PARTY_NAMES
from keras_private.errors import KerasPrivateError, party_of


def suspect_of(error: Exception, own: int) -> int:
    """The number of the party at which an error seems to have begun; `own`: ours."""
    party = party_of(error)
    return PARTY_NAMES.index(party) if party in PARTY_NAMES else own


def cause_of(error: Exception) -> str:
    """What others may hear of an error: a defect's own words could hold anything."""
    return str(error) if isinstance(error, KerasPrivateError) else f"{type(error).__name__}, see that party's log"
