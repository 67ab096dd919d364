"""The public names, and that asking for one does not bring in what it does not need."""

from __future__ import annotations

import copy
import inspect
import subprocess
import sys

import pytest

import keras_private
from keras_private import errors

ERRORS = {name for name, value in vars(errors).items() if inspect.isclass(value)}


def test_every_name_is_there() -> None:
    assert set(keras_private.__all__) == ERRORS | {
        *("AsyncClient", "Client", "KerasHook", "TFECluster", "TFEWorker", "__version__", "check")
    }
    assert set(keras_private.__all__) <= set(dir(keras_private))
    for name in keras_private.__all__:
        assert getattr(keras_private, name) is not None


def test_errors_are_the_same_objects() -> None:
    for name in ERRORS:
        assert getattr(keras_private, name) is getattr(errors, name)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="KerasHoook"):
        _ = keras_private.KerasHoook


def test_call_shapes() -> None:
    """As PySyft 0.2's tutorials call them."""
    cluster, worker = keras_private.TFECluster, keras_private.TFEWorker
    queries = {"connect_to_model", "query_model", "query_model_async", "query_model_join", "evaluate_model"}
    assert {"from_yaml", "start", "stop", "workers", "tfe_config", "__enter__", "__exit__"} <= set(dir(cluster))
    assert queries <= set(dir(worker()))
    assert queries <= set(dir(keras_private.Client))
    assert {"host", "auto_managed"} <= set(inspect.signature(worker).parameters)
    assert list(inspect.signature(worker().connect_to_model).parameters)[:3] == [
        "input_shape",
        "output_shape",
        "cluster",
    ]


def test_call_shapes_of_many_models_and_event_loops() -> None:
    assert {"replicas", "status", "undeploy"} <= set(dir(keras_private.TFECluster))
    assert {"model", "owner", "digest"} <= set(inspect.signature(keras_private.Client.connect_to_model).parameters)
    client = keras_private.AsyncClient
    assert {"connect", "query", "evaluate", "close", "__aenter__", "__aexit__"} <= set(dir(client))
    assert all(inspect.iscoroutinefunction(getattr(client, name)) for name in ("connect", "query", "evaluate", "close"))


def test_a_worker_is_a_partys_handle_or_a_client() -> None:
    """Each has what is its own, and nothing that could only raise."""
    worker, client = keras_private.TFEWorker, keras_private.Client
    handle = worker("localhost:4000", True)
    assert type(handle) is worker
    assert not {name for name in vars(client) if not name.startswith("_")} & set(dir(handle))
    assert isinstance(worker(), worker)
    assert isinstance(worker(), client)
    assert worker().host is None
    assert not hasattr(client(), "host")
    assert repr(client()) == "Client(<not connected>)"
    assert repr(worker()) == "TFEWorker(<not connected>)"
    assert repr(copy.copy(handle)) == repr(handle) == "TFEWorker(host='localhost:4000', auto_managed=True)"
    for arguments in ({"name": "bob"}, {"timeout": 5.0}):
        with pytest.raises(errors.ConfigError, match="stands for the party at localhost:4000; a client is a TFEWorker"):
            worker("localhost:4000", **arguments)  # type: ignore[call-overload]


LIGHT = ("import keras_private", "from keras_private import KerasPrivateError, InputError")
CLIENT = (
    "from keras_private import AsyncClient, Client, TFEWorker, TFECluster",
    "import keras_private.party.server",
    "import keras_private.cli",
)


@pytest.mark.parametrize("statement", [*LIGHT, *CLIENT])
def test_who_imports_what(statement: str) -> None:
    """A party or client never waits for TensorFlow; the bare package for nothing at all."""
    heavy = ["tensorflow", "tf_encrypted", "keras", "onnx"] + (["numpy", "numba"] if statement in LIGHT else [])
    code = f"import sys\n{statement}\nprint(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == []
