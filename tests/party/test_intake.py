"""Uploads: a model comes in whole and as its plan says, or not at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from keras_private.config import Limits
from keras_private.errors import PlanError
from keras_private.party.intake import Upload
from keras_private.party.messages import Load, Weight
from keras_private.party.models import bind
from keras_private.plan.serialise import digest, serialise
from keras_private.sharing.share import reconstruct, split
from keras_private.upload import values_in_order


def pieces(tiny: Any, party: int = 0, size: int = 50) -> list[Weight]:
    """Everything an owner sends to one party after the plan, in small pieces."""
    sent = []
    for name, words in values_in_order(tiny.executable.plan, tiny.executable.values):
        package = split(words)[party]
        for part in ("mine", "next"):
            data = getattr(package, part)
            data = data.tobytes() if isinstance(data, np.ndarray) else bytes(data)
            starts = range(0, len(data), size)
            sent += [Weight(name, part, data[start : start + size], start == starts[-1]) for start in starts]
    return sent


def begin(tiny: Any, **limits: Any) -> Upload:
    return Upload(Load(bytes(16), "digits", 0, 0, serialise(tiny.executable.plan)), "owner:alice", Limits(**limits))


def test_a_whole_upload(tiny: Any) -> None:
    upload = begin(tiny)
    for piece in pieces(tiny, party=2):
        assert not upload.complete
        upload.add(piece)
    assert upload.complete
    model = upload.finish(3)
    assert (model.id, model.owner, model.digest) == (bytes(16), "owner:alice", digest(tiny.executable.plan))
    assert str(model) == "'digits' version 3 of owner:alice"
    assert model.size == upload.fitted.size == 16 * sum(np.size(value) for value in tiny.executable.values.values())
    assert "program" not in repr(model)
    again = bind(model.facts, upload.fitted, upload.shares)  # as from storage
    assert again.facts == model.facts
    with pytest.raises(PlanError, match="has digest"):
        bind(replace(model.facts, digest="f" * 64), upload.fitted, upload.shares)
    with pytest.raises(PlanError, match="weights do not match"):
        bind(model.facts, upload.fitted, {})


def test_the_shares_are_the_weights(tiny: Any) -> None:
    uploads = [begin(tiny) for _ in range(3)]
    for name, words in values_in_order(tiny.executable.plan, tiny.executable.values):
        for upload, package in zip(uploads, split(words), strict=True):
            for part in ("mine", "next"):
                data = getattr(package, part)
                upload.add(Weight(name, part, data.tobytes() if isinstance(data, np.ndarray) else data, True))
        np.testing.assert_array_equal(reconstruct([upload.shares[name] for upload in uploads]), words)


def test_out_of_turn(tiny: Any) -> None:
    sent = pieces(tiny)
    for wrong in (sent[-1], Weight("stranger", "mine", b"", True), Weight(sent[0].name, "next", b"", True)):
        with pytest.raises(PlanError, match="out of turn"):
            begin(tiny).add(wrong)
    upload = begin(tiny)
    for piece in sent:
        upload.add(piece)
    with pytest.raises(PlanError, match="out of turn"):
        upload.add(sent[-1])


def test_too_much(tiny: Any) -> None:
    upload, first = begin(tiny), pieces(tiny)[0]
    size = 8 * np.size(tiny.executable.values[first.name])
    upload.add(Weight(first.name, "mine", bytes(size), False))
    with pytest.raises(PlanError, match="larger than the plan says"):
        upload.add(Weight(first.name, "mine", bytes(1), False))


def test_the_wrong_size(tiny: Any) -> None:
    upload, first = begin(tiny), pieces(tiny)[0]
    upload.add(Weight(first.name, "mine", bytes(32), True))
    with pytest.raises(PlanError, match=f"weight '{first.name}': a share of shape"):
        upload.add(Weight(first.name, "next", bytes(33), True))


def test_nothing_is_accepted_that_no_plan_describes() -> None:
    for data in (b"", b"\x80", bytes(1000)):
        with pytest.raises(PlanError):
            Upload(Load(bytes(16), "digits", 0, 0, data), "owner:alice", Limits())
