"""Errors: what they carry survives copies, and one tree holds them all."""

from __future__ import annotations

import copy

import pytest

from keras_private import errors
from keras_private.errors import FrameError, LinkError, LinkTimeoutError, TrustError, party_of

LINK_ERRORS = [LinkError, LinkTimeoutError, TrustError, FrameError]


@pytest.mark.parametrize("kind", LINK_ERRORS)
def test_a_link_error_carries_the_far_party(kind: type[LinkError]) -> None:
    for error in (kind("server0 ← server1: no", "server1"), copy.copy(kind("server0 ← server1: no", party="server1"))):
        assert str(error) == "server0 ← server1: no"
        assert error.party == party_of(error) == "server1"
        assert error.args == ("server0 ← server1: no",)
    assert kind("server0 ← server1: no").party == ""  # not from the words


@pytest.mark.parametrize("error", [ValueError("server0 ← server1"), errors.PartyError("server0 ← server1")])
def test_other_errors_blame_nobody(error: Exception) -> None:
    assert party_of(error) == ""


def test_one_tree() -> None:
    ours = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    assert len(ours) > 10
    for each in ours:
        assert issubclass(each, errors.KerasPrivateError | UserWarning)
