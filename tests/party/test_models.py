"""Uploads and the shelf: a model comes in whole and as its plan says, or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from keras_private.config import Limits
from keras_private.errors import PlanError, RefusedError
from keras_private.party.messages import Load, Weight
from keras_private.party.models import HeldModel, Shelf, Upload
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
    return Upload(Load(bytes(16), serialise(tiny.executable.plan)), "owner:alice", Limits(**limits))


def test_a_whole_upload(tiny: Any) -> None:
    upload = begin(tiny)
    for piece in pieces(tiny, party=2):
        assert not upload.complete
        upload.add(piece)
    assert upload.complete
    model = upload.finish()
    assert (model.id, model.owner, model.digest) == (bytes(16), "owner:alice", digest(tiny.executable.plan))
    assert "program" not in repr(model)


def test_the_shares_are_the_weights(tiny: Any) -> None:
    uploads = [begin(tiny) for _ in range(3)]
    for name, words in values_in_order(tiny.executable.plan, tiny.executable.values):
        for upload, package in zip(uploads, split(words), strict=True):
            for part in ("mine", "next"):
                data = getattr(package, part)
                upload.add(Weight(name, part, data.tobytes() if isinstance(data, np.ndarray) else data, True))
        np.testing.assert_array_equal(reconstruct([upload._shares[name] for upload in uploads]), words)


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
            Upload(Load(bytes(16), data), "owner:alice", Limits())


def test_the_shelf() -> None:
    seen: list[Any] = []
    shelf = Shelf(seen.append)
    alices, bobs = (HeldModel(bytes(16), "d", f"owner:{name}", None, None, None) for name in ("alice", "bob"))  # type: ignore[arg-type]
    shelf.put(alices)
    for attempt in (
        lambda: shelf.put(bobs),
        lambda: shelf.remove(bytes(16), "owner:bob"),
        lambda: shelf.owned(bytes(16), "owner:bob"),
        lambda: shelf.check_owner("owner:bob"),
    ):
        with pytest.raises(RefusedError, match="belongs to owner:alice"):
            attempt()
    assert shelf.model is shelf.owned(bytes(16), "owner:alice") is alices
    assert not shelf.remove(b"another upload..", "owner:alice")
    assert shelf.remove(bytes(16), "owner:alice")
    assert not shelf.remove(bytes(16), "owner:alice")
    shelf.put(bobs)
    assert seen == [alices, None, bobs]


def test_one_upload_at_a_time() -> None:
    shelf = Shelf(lambda _: None)

    def upload(then: Any) -> None:
        with shelf.uploading():
            then()

    with pytest.raises(RefusedError, match="another model is being uploaded"):
        upload(lambda: upload(lambda: None))
    with pytest.raises(ZeroDivisionError):
        upload(lambda: 1 / 0)
    upload(lambda: None)  # whatever ended the ones before
