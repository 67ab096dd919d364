"""What a server grants to one participant."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from keras_private.errors import LinkError
from keras_private.party import server
from keras_private.worker import TFEWorker


def test_one_client_may_not_take_every_connection(
    trio: Any, tiny: Any, serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_OF_ONE", 2)
    with serving(trio, tiny), ExitStack() as clients:
        for _ in range(2):
            client = clients.enter_context(TFEWorker())
            client.connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        with pytest.raises(LinkError, match="has 2 connections to server0 already"):
            TFEWorker().connect_to_model(tiny.input_shape, tiny.output_shape, trio)
        client.query_model(tiny.batch(1))
