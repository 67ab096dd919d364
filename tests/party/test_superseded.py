"""A version that was replaced never comes back over the one that replaced it, whatever the parties have forgotten."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from keras_private.errors import KerasPrivateError, RefusedError
from keras_private.owner import OwnedModel
from keras_private.worker import TFEWorker
from tests.conftest import make_tiny

NEWER = make_tiny(seed=1)
WAIT_S = 30.0


class Serving(threading.Thread):
    """`serve` of a model in a thread, and how it ended."""

    def __init__(self, model: OwnedModel) -> None:
        super().__init__(daemon=True)
        self.model = model
        self.error: KerasPrivateError | None = None
        self.troubles: list[str] = []
        self.heard = threading.Event()

    def run(self) -> None:
        try:
            self.model.serve(on_trouble=self.troubles.append, on_progress=lambda _: self.heard.set())
        except KerasPrivateError as error:
            self.error = error

    def end(self) -> KerasPrivateError | None:
        self.join(WAIT_S)
        assert not self.is_alive()
        return self.error


@contextlib.contextmanager
def served(model: OwnedModel) -> Iterator[Serving]:
    serving = Serving(model)
    serving.start()
    try:
        assert serving.heard.wait(WAIT_S)
        yield serving
    finally:
        model.pause()
        serving.join(WAIT_S)


def restart_leader(trio: Any) -> None:
    trio.servers[0].stop()
    trio.servers[0] = trio.make(0)
    trio.servers[0].start()


def answered_by(trio: Any, tiny: Any) -> None:
    with TFEWorker() as client:
        client.connect_to_model(cluster=trio)
        found = client.query_model(tiny.batch(2), timeout=WAIT_S)
    np.testing.assert_allclose(found, tiny.expected(tiny.batch(2)), atol=1e-3)


def test_who_serves_the_newer_version_takes_over(trio: Any, tiny: Any) -> None:
    old = tiny.upload(trio)
    with served(old) as first:
        new = NEWER.upload(trio)
        answered_by(trio, NEWER)  # served by whoever serves the name
        with served(new) as second:
            assert isinstance(error := first.end(), RefusedError)
            assert "version 2 of owner:owner was shared since, and is served now" in str(error)
            answered_by(trio, NEWER)
            assert second.is_alive()
        with pytest.raises(RefusedError, match="newer version"):
            old.serve()
    new.stop()


def test_a_replaced_version_is_not_brought_back_to_parties_that_lost_both(
    make_trio: Any, tiny: Any, until: Any
) -> None:
    trio = make_trio()
    old = tiny.upload(trio)
    with served(old) as serving:
        NEWER.upload(trio)
        until(lambda: old._newest == 2, "who serves the old version has heard of the new one")
        restart_leader(trio)
        assert isinstance(error := serving.end(), RefusedError)
    assert "version 2 was shared after this version 1" in str(error)
    assert not trio.servers[0].node.shelf.published


def test_a_leader_that_forgot_its_versions_knows_which_one_is_newer(make_trio: Any, tiny: Any) -> None:
    trio = make_trio()
    old = tiny.upload(trio)
    same = NEWER.upload(trio)
    restart_leader(trio)
    new = make_tiny(seed=2).upload(trio, deploy=True)
    assert new.version == old.version == 1  # the leader had forgotten all
    for superseded in (old, same):
        with pytest.raises(RefusedError, match="has version 1 by now"):
            superseded._upload()
    answered_by(trio, make_tiny(seed=2))
    restart_leader(trio)
    same._upload()  # it is the newest that they know
    assert same.version == 2
    new._upload(deploy=True)
    assert new.version == 3
    answered_by(trio, make_tiny(seed=2))
    new.stop()
    with pytest.raises(RefusedError, match="has version 3 by now"):
        same._upload()
    assert trio.digests() == [[], [], []]
