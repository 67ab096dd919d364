"""The client: what it refuses to send, what it accepts, and what it makes of answers."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
import warnings
from typing import Any

import numpy as np
import pytest

from keras_private.client import checks, session
from keras_private.client.client import Client
from keras_private.client.request import Request
from keras_private.cluster import TFECluster
from keras_private.errors import (
    ConfigError,
    InputError,
    IntegrityError,
    LinkTimeoutError,
    PartyError,
    RefusedError,
    StateError,
)
from keras_private.party.messages import Answer
from keras_private.party.wire import encode
from keras_private.sharing.share import split
from keras_private.worker import TFEWorker
from tests.client.described import described


@pytest.fixture(scope="module")
def waiting_model(memory_cluster: Any, tiny: Any) -> Any:
    """A model that is shared and not served: whatever is sent stays in the queue."""
    model = tiny.upload(memory_cluster)
    yield model
    model.stop()


@pytest.fixture
def client(memory_cluster: Any, tiny: Any, waiting_model: Any) -> Any:
    with TFEWorker() as worker:
        yield worker.connect_to_model(tiny.input_shape, tiny.output_shape, memory_cluster)


ROW = [0.5] * 6


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([[0.5] * 5], ["(1, 5)", "(batch, 6)"]),
        (ROW, ["(6,)", "(batch, 6)"]),
        (np.zeros((0, 6)), ["batch of 0 rows", "at least 1 is needed"]),
        (np.r_[np.zeros((128, 6)), np.full((1, 6), np.nan)], ["NaN or infinite"]),
        (np.r_[np.zeros((300, 6)), np.full((1, 6), 7.0)], ["from 0 to 7", "from -1 to 1"]),
        (np.zeros((129, 5)), ["(129, 5)", "(batch, 6)"]),
        (np.full((1, 6), np.nan), ["NaN or infinite"]),
        ([[*ROW[:5], np.inf]], ["NaN or infinite"]),
        ([[*ROW[:5], -np.inf]], ["NaN or infinite"]),
        ([[*ROW[:5], 1.01]], ["from 0.5 to 1.01", "from -1 to 1"]),
        ([[*ROW[:5], -2]], ["from -2", "from -1 to 1"]),
        (np.zeros((1, 6), complex), ["complex128"]),
        ([["a"] * 6], ["type <U1", "real numbers"]),
        (np.array([[None] * 6]), ["type object"]),
        (np.zeros((1, 6), "datetime64[s]"), ["datetime64"]),
        ([[1.0], [1.0, 2.0]], ["rectangular"]),
        (3.0, ["shape ()"]),
        (None, ["type object"]),
    ],
)
def test_what_is_wrong_is_not_sent(memory_cluster: Any, client: Any, data: Any, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        client.query_model(data)
    assert isinstance(caught.value, ValueError)
    for word in words:
        assert word in str(caught.value)
    assert all(status.waiting == 0 for status in memory_cluster.status().values())


def test_a_refused_query_does_not_disturb_the_next(
    memory_cluster: Any, client: Any, tiny: Any, waiting_model: Any
) -> None:
    data = tiny.batch(2)
    client.query_model_async(data)
    with pytest.raises(InputError):
        client.query_model_async([[9.0] * 6])
    waiting_model.serve(1)
    np.testing.assert_allclose(client.query_model_join(), tiny.expected(data), atol=1e-3)


def read_only_fortran(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    array = np.asfortranarray(data)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "convert",
    [
        read_only_fortran,
        np.float32,
        lambda data: data.tolist(),
        lambda data: [tuple(row) for row in data],
        lambda data: data[:, ::-1][:, ::-1],
        lambda data: data.astype(">f8"),
        lambda data: np.sign(data).astype(np.int8),
        lambda data: data > 0,
        lambda data: np.float16(data),
    ],
    ids=["R", "float32", "lists", "tuples", "strides", "big endian", "int8", "bool", "float16"],
)
def test_what_is_taken(client: Any, tiny: Any, waiting_model: Any, convert: Any) -> None:
    data = convert(tiny.batch(3))
    client.query_model_async(data)
    waiting_model.serve(1)
    np.testing.assert_allclose(client.query_model_join(), tiny.expected(data), atol=1e-3)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (((1, 7), (1, 3)), ["input", "(batch, 7)", "(batch, 6)"]),
        (((1, 6), (1, 4)), ["output", "(batch, 4)", "(batch, 3)"]),
        (((1, 6, 1), (1, 3)), ["(batch, 6, 1)", "(batch, 6)"]),
        (((1, 6.5), (1, 3)), ["input_shape", "whole numbers"]),
        (((1, 6), (1, -3)), ["output_shape", "whole numbers"]),
        (((), (1, 3)), ["input_shape"]),
        ((7, (1, 3)), ["input_shape"]),
        (("ab", (1, 3)), ["input_shape"]),
    ],
)
def test_other_shapes_than_the_models(memory_cluster: Any, waiting_model: Any, shapes: Any, words: list[str]) -> None:
    with TFEWorker() as client, pytest.raises(InputError) as caught:
        client.connect_to_model(*shapes, memory_cluster)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("batch", [1, 32, 5.0, None])
def test_any_batch_in_the_shapes_and_r_doubles(memory_cluster: Any, waiting_model: Any, batch: Any) -> None:
    with TFEWorker() as client:
        client.connect_to_model([batch, 6.0], np.array([1.0, 3.0]), memory_cluster)


def test_several_queries_in_order(client: Any, tiny: Any, waiting_model: Any) -> None:
    batches = [tiny.batch(rows, seed=rows) for rows in (3, 1, 2)]
    for data in batches:
        client.query_model_async(data)
    waiting_model.serve(3)
    for data in batches:
        np.testing.assert_allclose(client.query_model_join(), tiny.expected(data), atol=1e-3)
    with pytest.raises(StateError, match="no query is on its way"):
        client.query_model_join()


def test_no_answer_in_time(memory_cluster: Any, client: Any, tiny: Any, until: Any) -> None:
    began = time.monotonic()
    with pytest.raises(LinkTimeoutError, match="server0, server1, server2; is the model being served"):
        client.query_model(tiny.batch(1), timeout=0.2)
    assert time.monotonic() - began < 5
    until(lambda: all(status.waiting == 0 for status in memory_cluster.status().values()), "the parties forget it")


def test_a_client_that_leaves_is_forgotten(memory_cluster: Any, client: Any, tiny: Any, until: Any) -> None:
    client.query_model_async(tiny.batch(1))
    until(lambda: all(status.waiting == 1 for status in memory_cluster.status().values()), "the request waits")
    client.close()
    until(lambda: all(status.waiting == 0 for status in memory_cluster.status().values()), "the parties forget it")
    client.close()


def test_a_client_by_its_own_name(memory_cluster: Any, tiny: Any, waiting_model: Any) -> None:
    data = tiny.batch(2)
    with Client("bob") as client:
        assert not client.connected
        ticket = client.connect_to_model(tiny.input_shape, tiny.output_shape, memory_cluster).query_model_async(data)
        assert client.connected
        waiting_model.serve(1)
        np.testing.assert_allclose(client.query_model_join(ticket), tiny.expected(data), atol=1e-3)
    assert not client.connected


def test_calls_out_of_order() -> None:
    with pytest.raises(StateError, match="connect_to_model first"):
        TFEWorker().query_model([ROW])


def test_no_model_yet(trio: Any) -> None:
    with pytest.raises(RefusedError, match="server0: holds no model"):
        TFEWorker().connect_to_model((1, 6), (1, 3), trio)


def test_a_lying_party_is_noticed(client: Any, tiny: Any, waiting_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    original = client._session._take_in

    def lie(index: int, message: Any) -> None:
        if index == 1 and isinstance(message, Answer):
            message = Answer(message.request, message.mine, bytes([message.next[0] ^ 1]) + message.next[1:])
        original(index, message)

    monkeypatch.setattr(client._session, "_take_in", lie)
    client.query_model_async(tiny.batch(1))
    waiting_model.serve(1)
    with pytest.raises(IntegrityError, match="server1 and server2"):
        client.query_model_join()


@pytest.mark.parametrize("host", ["localhost", "localhost:0", "localhost:99999", "local host:4000", "", 4000])
def test_malformed_hosts(host: Any) -> None:
    with pytest.raises(ConfigError, match="host"):
        TFEWorker(host=host)


def test_auto_managed_needs_a_host() -> None:
    with pytest.raises(ConfigError, match="needs a host"):
        TFEWorker(auto_managed=True)


def test_nothing_secret_shows(client: Any) -> None:
    assert repr(client) == "TFEWorker(<connected>)"


def test_a_client_imports_no_tensorflow_and_no_numba() -> None:
    code = (
        "import sys, keras_private as kp; kp.TFEWorker(); kp.TFECluster; import keras_private.party.__main__;"
        "print([name for name in ('tensorflow', 'tf_encrypted', 'keras', 'numba') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_the_same_query_twice_looks_different(
    client: Any, tiny: Any, waiting_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    original = session._query

    def spy(*arguments: Any) -> Any:
        query = original(*arguments)
        sent.extend([bytes(query.mine), bytes(query.next)])
        return query

    monkeypatch.setattr(session, "_query", spy)
    for _ in range(2):
        client.query_model_async(tiny.batch(4))
    waiting_model.serve(2)
    np.testing.assert_allclose(client.query_model_join(), client.query_model_join(), atol=1e-3)
    first, second = sent[:6], sent[6:]
    assert len(set(first)) == len(set(second)) == 3  # two seeds and one summand, each held by two parties
    assert not set(first) & set(second)


def test_no_cluster_and_no_timeout() -> None:
    with pytest.raises(ConfigError, match="takes a TFECluster, not str"):
        TFEWorker().connect_to_model((1, 2), (1, 2), "cluster.yaml")  # type: ignore[arg-type]
    cluster = TFECluster(TFEWorker(), TFEWorker(), TFEWorker())
    for arguments in (((1, 2), cluster), (cluster, (1, 2))):
        with pytest.raises(ConfigError, match="the cluster alone, or behind both shapes"):
            TFEWorker().connect_to_model(*arguments)
    for wrong in ("x", float("nan"), 0, -1.0, None):
        with pytest.raises(InputError, match="seconds above 0"):
            TFEWorker(timeout=wrong)  # type: ignore[arg-type]


def test_the_largest_query_fits_the_limit() -> None:
    model = described(shape=(20_000,))
    checks.check_size(6, model, 1, 2**20)
    packages = split(np.zeros((6, 20_000), np.uint64))
    request = Request(bytes(16), 6)
    sizes = [len(encode(session._query(request, model, None, 2.0**31, package))) for package in packages]
    assert max(sizes) <= 6 * 20_000 * 8 + checks.QUERY_OVERHEAD < 2**20
    with pytest.raises(InputError, match="7 rows is over the cluster's limit of 1 MB; ask at most 6 at once"):
        checks.check_size(7, model, 1, 2**20)
    with pytest.raises(InputError, match=r"request_mb in cluster\.yaml must be raised"):
        checks.check_size(1, described(shape=(200_000,)), 1, 2**20)


def test_nothing_over_the_limit_leaves(
    client: Any, tiny: Any, memory_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "QUERY_OVERHEAD", memory_cluster.config.limits.request_bytes - 6 * 8 + 1)
    with pytest.raises(InputError, match=r"request_mb in cluster\.yaml must be raised"):
        client.query_model(tiny.batch(3))
    assert not client._session._open
    assert all(status.waiting == 0 for status in memory_cluster.status().values())


@pytest.mark.parametrize("sent", [0, 1, 2])
def test_ctrl_c_while_sending_takes_the_query_back(
    memory_cluster: Any, client: Any, tiny: Any, waiting_model: Any, until: Any, sent: int
) -> None:
    index = session._SEND_ORDER[sent]
    ours = client._session
    with pytest.MonkeyPatch.context() as patch:
        original = session._query

        def interrupt(request: Any, model: Any, *more: Any) -> Any:
            if len(request.asked) > sent:
                ours._channels[index].close("interrupted")  # what a connection does in the middle of a frame
                raise KeyboardInterrupt
            return original(request, model, *more)

        patch.setattr(session, "_query", interrupt)
        with pytest.raises(KeyboardInterrupt):
            client.query_model(tiny.batch(1))
    assert not ours._open
    until(lambda: all(status.waiting == 0 for status in memory_cluster.status().values()), "the parties forget it")
    client.query_model_async(tiny.batch(2))  # connects anew
    waiting_model.serve(1)
    np.testing.assert_allclose(client.query_model_join(), tiny.expected(tiny.batch(2)), atol=1e-3)


def test_no_query_after_close(client: Any, tiny: Any) -> None:
    client.close()
    with pytest.raises(StateError, match="connect_to_model first"):
        client.query_model(tiny.batch(1))


def test_an_answer_larger_than_the_query_is_not_taken(client: Any, tiny: Any) -> None:
    client.query_model_async(tiny.batch(128))
    channel = client._session._channels[1]
    channel._wire.messages[channel._side].append(bytes((1 << 20) + 16 * 128 * 3 + 1))
    with pytest.raises(PartyError, match=r"server1 sent what makes no sense.*over the limit of 1054720"):
        client.query_model_join()


def test_a_fork_connects_anew(process_cluster: Any, tiny: Any, serving: Any) -> None:
    data = tiny.batch(2)
    with serving(process_cluster, tiny), TFEWorker() as client:
        client.connect_to_model(tiny.input_shape, tiny.output_shape, process_cluster)
        client.query_model(data)
        ours = list(client._session._channels)
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # this process has threads; the child uses none of them
            child = os.fork()
        if not child:
            try:
                told = 0
                for channel in ours:
                    try:
                        channel.send(b"")
                    except StateError:
                        told += 1
                error = np.abs(client.query_model(data, timeout=20) - tiny.expected(data)).max()
                client.close()
                os.write(writing, b"ok" if told == 3 and error < 1e-3 else b"wrong")
            finally:
                os._exit(0)
        os.close(writing)
        try:
            ready, _, _ = select.select([reading], [], [], 30)
            assert ready
            assert os.read(reading, 10) == b"ok"
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(reading)
        assert client._session._channels == ours
        np.testing.assert_allclose(client.query_model(data), tiny.expected(data), atol=1e-3)
