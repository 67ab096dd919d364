"""The shelf: what is held, what names mean, who may have how much room."""

from __future__ import annotations

from typing import Any

import pytest

from keras_private.config import Limits
from keras_private.errors import NoModelError, PlanError, RefusedError
from keras_private.party import shelf as shelf_module
from keras_private.party.causes import SHARED_AGAIN, STOPPED
from keras_private.party.models import Facts, HeldModel
from keras_private.party.shelf import Contents, Reservation, Shelf

NOTHING = Contents(b"", {})
MB = 2**20


class Kept:
    """A keeper that notes what it was told."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.full = False

    def keep(self, facts: Facts, contents: Contents) -> None:
        if self.full:
            raise PlanError("the disk is full")
        assert contents is NOTHING
        self.told.append(("keep", facts))

    def note(self, facts: Facts) -> None:
        self.told.append(("note", facts))

    def forget(self, id_: bytes) -> None:
        self.told.append(("forget", id_))


def made(number: int, name: str = "digits", owner: str = "owner:alice", size: int = 0, version: int = 1) -> HeldModel:
    none: Any = None
    return HeldModel(number.to_bytes(16, "big"), name, version, owner, "d" * 64, none, size, none, none)


def upload(number: int, size: int, owner: str = "owner:alice") -> Reservation:
    return Reservation(number.to_bytes(16, "big"), "digits", owner, size)


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def changes() -> list[int]:
    return []


@pytest.fixture
def shelf(kept: Kept, changes: list[int]) -> Shelf:
    limits = Limits(model_mb=10, owner_mb=20, models_mb=30)
    return Shelf(limits, lambda: changes.append(1), kept)


def put(shelf: Shelf, *models: HeldModel, publish: bool = False) -> None:
    for model in models:
        shelf.put(model, NOTHING)
        if publish:
            shelf.publish(model, deployed=False)


def test_a_model_comes_and_goes(shelf: Shelf, kept: Kept, changes: list[int]) -> None:
    model = made(1)
    put(shelf, model)
    assert shelf.get(model.id) is shelf.owned(model.id, "owner:alice") is model
    assert shelf.models == (model,)
    with pytest.raises(RefusedError, match=r"'digits' belongs to owner:alice; only they"):
        shelf.owned(model.id, "owner:bob")
    assert shelf.owned(b"another upload..", "owner:bob") is None
    assert shelf.gone(model.id) is None
    assert shelf.remove(model.id, STOPPED)
    assert not shelf.remove(model.id, STOPPED)
    assert shelf.gone(model.id) == model.ended == STOPPED
    assert shelf.get(model.id) is None
    assert len(changes) == shelf.changes == 2
    assert kept.told == [("keep", model.facts), ("forget", model.id), ("forget", model.id)]


def test_what_cannot_be_kept_is_not_held(shelf: Shelf, kept: Kept) -> None:
    kept.full = True
    with pytest.raises(PlanError, match="the disk is full"):
        put(shelf, made(1))
    assert not shelf.models
    assert not shelf.changes


def test_what_names_mean(shelf: Shelf, kept: Kept) -> None:
    with pytest.raises(NoModelError, match="holds no model; the owner"):
        shelf.named("")
    first, second = made(1), made(2, version=2)
    put(shelf, first)
    with pytest.raises(NoModelError, match="holds no model 'digits'"):
        shelf.named("digits")  # it is not published
    shelf.publish(first, deployed=True)
    assert kept.told[-1] == ("note", Facts(first.id, "digits", 1, "owner:alice", "d" * 64, 1, True))
    put(shelf, second)
    assert shelf.named("digits") is shelf.named("") is first
    assert not shelf.retired(second)
    shelf.publish(second, deployed=False)
    assert shelf.named("digits") is shelf.named("") is second
    assert shelf.retired(first)
    assert shelf.published == {"digits": second}
    second.ended = STOPPED  # what is about to go is not given to anybody, and nothing older either
    first.ended = STOPPED
    with pytest.raises(NoModelError):
        shelf.named("digits")


def test_the_default_model(shelf: Shelf) -> None:
    digits, faces, model = made(1), made(2, "faces"), made(3, "model")
    put(shelf, digits, publish=True)
    assert shelf.named("") is digits  # the only one
    put(shelf, faces, publish=True)
    with pytest.raises(RefusedError, match="several models, and none is the default") as caught:
        shelf.named("")
    assert "faces" not in str(caught.value)  # names are not told to whoever asks
    put(shelf, model, publish=True)
    assert shelf.named("") is model
    assert shelf.named("faces") is faces


def test_publishing_again_changes_no_order(shelf: Shelf) -> None:
    first, second = made(1), made(2, "faces")
    put(shelf, first, second, publish=True)
    shelf.publish(first, deployed=True)
    assert first.deployed
    assert [first.published, second.published] == [1, 2]
    shelf.undeploy(first)
    assert not first.deployed


def test_who_uses_a_model_hears_that_it_was_retired(shelf: Shelf) -> None:
    first, second, third = (made(number, version=number) for number in (1, 2, 3))
    heard: list[Any] = []
    put(shelf, first, publish=True)
    shelf.use(first, "ann", lambda model: heard.append(("ann", model)))
    shelf.use(first, "ann", lambda model: heard.append(("ann", model)))
    shelf.use(first, "bob", lambda model: heard.append(("bob", model)))
    assert shelf.users(first.id) == 2
    put(shelf, second, publish=True)
    assert sorted(heard, key=str) == [("ann", first), ("bob", first)]
    shelf.leave("ann")
    shelf.leave("nobody")
    assert shelf.users(first.id) == 1
    put(shelf, third, publish=True)
    assert len(heard) == 2  # nobody used the second
    shelf.remove(first.id, SHARED_AGAIN)
    assert not shelf.users(first.id)
    with pytest.raises(NoModelError, match="just now"):
        shelf.use(first, "ann", heard.append)
    shelf.leave("bob")


def test_room_for_an_owner_and_for_all(shelf: Shelf) -> None:
    put(shelf, made(1, size=9 * MB))
    with shelf.uploading(upload(2, 9 * MB)):
        with pytest.raises(RefusedError) as caught, shelf.uploading(upload(3, 3 * MB)):
            pass
        assert str(caught.value) == (
            "this upload takes 3.0 MB, and owner:alice holds 18.0 MB of the 20.0 MB that an owner may "
            "(limits.owner_mb): 'digits' version 1 9.0 MB, 'digits' on its way 9.0 MB; stop one first, or ask the "
            "operators for more"
        )
        with shelf.uploading(upload(3, 2 * MB)), shelf.uploading(upload(4, 10 * MB, "owner:bob")):
            with pytest.raises(RefusedError) as caught, shelf.uploading(upload(5, 1, "owner:carol")):
                pass
            assert "are taken: owner:alice 20.0 MB, owner:bob 10.0 MB; ask them" in str(caught.value)
    with shelf.uploading(upload(2, 11 * MB)):  # they have ended
        put(shelf, made(2, size=11 * MB))  # and this one counts once
        with shelf.uploading(upload(3, 0)):
            pass
    with pytest.raises(RefusedError, match="id is here already"):
        shelf.reserve(upload(2, 0))


def test_room_is_waited_for(shelf: Shelf) -> None:
    import threading

    put(shelf, made(1, size=15 * MB))
    thread = threading.Timer(0.02, lambda: shelf.remove(made(1).id, SHARED_AGAIN))
    thread.start()
    shelf.reserve(upload(2, 10 * MB), wait=20)
    thread.join()
    assert [each.id for each in shelf.uploads] == [made(2).id]
    shelf.release(made(2).id)
    assert not shelf.uploads


def test_as_many_models_as_fit(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf_module, "OWNED", 2)
    put(shelf, made(1), made(2, "faces"))
    with pytest.raises(RefusedError, match=r"there are 2 models of owner:alice \(2 in all\), and may be 2 \(256\)"):
        shelf.reserve(upload(3, 0))
    shelf.reserve(upload(3, 0, "owner:bob"))


def test_what_was_kept_comes_back(shelf: Shelf, kept: Kept) -> None:
    old, new = made(1), made(2, version=2)
    old.published, new.published, new.deployed = 4, 7, True
    shelf.restore([new, old])
    assert shelf.named("digits") is new
    assert shelf.retired(old)
    assert not kept.told
    put(shelf, made(3, "faces"), publish=True)
    assert shelf.named("faces").published == 8
