"""KerasHook and the methods it gives to models, on a cluster within this process."""

from __future__ import annotations

import contextlib
import gc
import importlib
import signal
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from keras_private import (
    ConfigError,
    InputError,
    KerasHook,
    PlanError,
    RefusedError,
    StateError,
    TFECluster,
    TFEWorker,
    UnsupportedModelError,
)
from keras_private import hook as hook_module
from keras_private.party.messages import Status

X = np.random.default_rng(2).uniform(-1, 1, (2, 4)).astype(np.float32)


@pytest.fixture(params=["keras", "tf_keras"])
def keras(request: pytest.FixtureRequest) -> Any:
    module = importlib.import_module(request.param)
    KerasHook(module)
    return module


@pytest.fixture(scope="module")
def cluster() -> Iterator[TFECluster]:
    with TFECluster(TFEWorker(), TFEWorker(), TFEWorker()) as started:
        yield started


def functional(keras: Any) -> Any:
    x = keras.Input((4,))
    return keras.Model(x, keras.layers.Dense(3, activation="relu")(x))


def predict(model: Any, cluster: TFECluster, num_requests: Any = 1) -> np.ndarray:
    """One private prediction of X."""
    with TFEWorker() as client:
        client.connect_to_model((1, 4), (1, 3), cluster)
        client.query_model_async(X)
        model.serve(num_requests=num_requests)
        return client.query_model_join()


def test_tensorflow_keras_too() -> None:
    import tensorflow as tf

    assert KerasHook(tf.keras).model_class is tf.keras.Model


def test_hooking_twice_changes_nothing(keras: Any) -> None:
    before = {name: getattr(keras.Model, name) for name in ("share", "serve", "stop", "private_summary")}
    assert repr(KerasHook(keras)).startswith("KerasHook(")
    assert before == {name: getattr(keras.Model, name) for name in before}


def test_what_is_no_keras() -> None:
    for wrong in (None, np, "keras"):
        with pytest.raises(ConfigError, match="takes a Keras module"):
            KerasHook(wrong)


def test_methods_from_elsewhere_are_not_replaced() -> None:
    class Model:
        def serve(self) -> None: ...

    with pytest.raises(ConfigError, match="'serve'"):
        KerasHook(SimpleNamespace(Model=Model))
    assert not hasattr(Model, "share")


@pytest.mark.parametrize("kind", ["functional", "sequential", "loaded"])
def test_share_serve_query(keras: Any, cluster: TFECluster, kind: str, tmp_path: Path) -> None:
    model = functional(keras)
    if kind == "sequential":
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    if kind == "loaded":
        model.save(tmp_path / "model.keras")
        model = keras.models.load_model(tmp_path / "model.keras")
    assert model.share(cluster) is model
    np.testing.assert_allclose(predict(model, cluster), np.asarray(model(X)), atol=1e-3)
    model.stop()


def test_progress(keras: Any, cluster: TFECluster, capsys: pytest.CaptureFixture[str]) -> None:
    with functional(keras).share(cluster) as model:
        predict(model, cluster, 1.0)  # R's numbers
    assert "served 1 of 1" in capsys.readouterr().err


def test_serving_without_a_number_until_stop(keras: Any, cluster: TFECluster) -> None:
    model = functional(keras).share(cluster)
    serving = threading.Thread(target=model.serve)
    serving.start()
    with TFEWorker() as client:
        client.connect_to_model((1, 4), (1, 3), cluster)
        for _ in range(2):
            np.testing.assert_allclose(client.query_model(X), np.asarray(model(X)), atol=1e-3)
    model.stop()
    serving.join(20)
    assert not serving.is_alive()


def test_out_of_order(keras: Any, cluster: TFECluster) -> None:
    model = functional(keras)
    for call in (model.serve, model.private_summary):
        with pytest.raises(StateError, match=r"call model\.share\(cluster\) before"):
            call()
    with pytest.raises(StateError, match=r"cluster\.start\(\)"):
        model.share(TFECluster(TFEWorker(), TFEWorker(), TFEWorker()))
    with pytest.raises(ConfigError, match="TFECluster"):
        model.share("cluster.yaml")
    model.share(cluster)
    model.stop()
    model.stop()
    with pytest.raises(StateError):
        model.serve(1)


def test_a_context_manager_stops(keras: Any, cluster: TFECluster) -> None:
    with functional(keras).share(cluster) as model:
        pass
    with pytest.raises(StateError):
        model.serve(1)
    with TFEWorker() as client, pytest.raises(RefusedError):
        client.connect_to_model((1, 4), (1, 3), cluster)


def test_ctrl_c_while_stopping_can_be_repeated(
    keras: Any, cluster: TFECluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    model = functional(keras).share(cluster)
    with monkeypatch.context() as patch:
        patch.setattr(hook_module.OwnedModel, "stop", interrupt)
        with pytest.raises(KeyboardInterrupt):
            model.stop()
    model.private_summary(lambda _: None)  # still shared
    model.stop()
    with TFEWorker() as client, pytest.raises(RefusedError):
        client.connect_to_model((1, 4), (1, 3), cluster)


@contextlib.contextmanager
def ctrl_c_after(condition: Callable[[], Any], until: Any) -> Iterator[None]:
    """Send this thread SIGINT, as Ctrl-C in a terminal or "interrupt" in a notebook does, once something is so."""
    here = threading.get_ident()

    def press() -> None:
        until(condition, "it is time for Ctrl-C")
        signal.pthread_kill(here, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    yield
    thread.join()


def paused(cluster: TFECluster) -> bool:
    leader = cluster.status()["server0"]
    return isinstance(leader, Status) and [model.state for model in leader.models] == ["paused"]


@pytest.mark.parametrize("num_requests", [None, 5])
def test_ctrl_c_ends_serving(keras: Any, cluster: TFECluster, until: Any, num_requests: Any) -> None:
    model = functional(keras).share(cluster)
    owned = hook_module._shared[model]["model"].owned
    with TFEWorker() as client:
        client.connect_to_model((1, 4), (1, 3), cluster)
        for _ in range(2):  # the second Ctrl-C does the same, and nothing of the first is left
            client.query_model_async(X)
            owned.served = 0
            with ctrl_c_after(lambda: owned.served == 1, until):
                assert model.serve(num_requests) == 1
            np.testing.assert_allclose(client.query_model_join(), np.asarray(model(X)), atol=1e-3)
            until(lambda: paused(cluster), "the leader notices: what comes sooner counts in the serving that ends")
        client.query_model_async(X)
        assert model.serve(1) == 1
        client.query_model_join()
    model.stop()
    with TFEWorker() as client, pytest.raises(RefusedError):
        client.connect_to_model((1, 4), (1, 3), cluster)


def test_quiet(keras: Any, cluster: TFECluster, capsys: pytest.CaptureFixture[str]) -> None:
    with functional(keras).share(cluster) as model, TFEWorker() as client:
        client.connect_to_model((1, 4), (1, 3), cluster)
        client.query_model_async(X)
        capsys.readouterr()
        assert model.serve(1, verbose=0) == 1
        client.query_model_join()
    assert capsys.readouterr() == ("", "")


def nested(keras: Any) -> Any:
    x = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), keras.layers.BatchNormalization()])
    return keras.Model(x, keras.layers.Dense(3)(inner(x)))


def change_inner(model: Any) -> None:
    (inner,) = [layer for layer in model.layers if layer.weights and hasattr(layer, "layers")]
    weights = inner.get_weights()
    weights[-1] = weights[-1] + 0.5  # a moving variance
    inner.set_weights(weights)


def fit(model: Any) -> None:
    model.compile("sgd", "mse")
    model.fit(X, np.ones((2, 3)), epochs=1, verbose=0)


@pytest.mark.parametrize("change", [change_inner, fit])
def test_weights_that_changed_since_they_were_shared(keras: Any, cluster: TFECluster, change: Any) -> None:
    """What was shared is served, and the owner is warned, every time; not after sharing again."""
    model = nested(keras)
    model.share(cluster)
    before = np.asarray(model(X))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(predict(model, cluster), before, atol=1e-3)  # calling it changes nothing
    change(model)
    assert np.abs(np.asarray(model(X)) - before).max() > 0.01
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"weights have changed since model\.share") as caught:
            np.testing.assert_allclose(predict(model, cluster), before, atol=1e-3)
        assert caught[0].filename == __file__
    model.share(cluster)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        np.testing.assert_allclose(predict(model, cluster), np.asarray(model(X)), atol=1e-3)
    model.stop()


def test_sharing_again_replaces(keras: Any, cluster: TFECluster) -> None:
    model = functional(keras)
    with model.share(cluster):
        model.set_weights([np.ones((4, 3)), np.ones(3)])
        model.share(cluster)
        np.testing.assert_allclose(predict(model, cluster), np.asarray(model(X)), atol=1e-3)


@pytest.mark.parametrize("wrong", [0, -1, 2.5, "three", True, float("nan"), float("inf"), [3]])
def test_numbers_of_requests(cluster: TFECluster, wrong: Any) -> None:
    import keras

    KerasHook(keras)
    with functional(keras).share(cluster) as model, pytest.raises(InputError, match="whole number"):
        model.serve(num_requests=wrong)


def test_input_range(keras: Any, cluster: TFECluster) -> None:
    model = functional(keras)
    with pytest.raises(PlanError, match="input_range"):
        model.share(cluster, input_range=(1, 0))
    with model.share(cluster, input_range=[-1, 1.0]), TFEWorker() as client:
        client.connect_to_model((1, 4), (1, 3), cluster)
        with pytest.raises(InputError):
            client.query_model(2 * np.ones((1, 4)))


def test_unsupported_models_do_not_reach_the_cluster(keras: Any, cluster: TFECluster) -> None:
    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.Lambda(lambda x: x)(x))
    with pytest.raises(UnsupportedModelError, match="Python code"):
        model.share(cluster)
    with pytest.raises(ConfigError, match="reveal must be one of 'logits', 'probabilities', 'label', 'top5'"):
        model.share(cluster, reveal="server0")
    model.stop()


@pytest.mark.parametrize("number", [10**400, 2**62, 0, 1.5, True, "x"])
def test_numbers_of_requests_that_are_none(number: Any) -> None:
    with pytest.raises(InputError, match="whole number of 1 or more"):
        hook_module._count(number)


def test_private_summary(keras: Any, cluster: TFECluster, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lines: list[str] = []
    with functional(keras).share(cluster) as model:
        (held,) = cluster.status()["server0"].models
        guessed, shared = capsys.readouterr().out.splitlines()
        assert guessed.startswith("ranges guessed from random inputs, not proved: dense")
        assert "; share(input_range=" in guessed
        assert shared == f"shared as 'model' version {held.version} by owner, digest {held.digest}"
        model.share(cluster, verbose=0)
        model.private_summary()
        model.private_summary(print_fn=lines.append)
        assert "The last run" not in "".join(lines)
        assert "dense" in "".join(lines)
        assert model.name in "".join(lines)
        assert "128 rows fit into a run, 128 into a query (limits.memory_mb 2048, max_batch 128)" in "".join(lines)
        assert capsys.readouterr().out.strip() == "".join(lines).strip()
        with TFEWorker() as client:
            client.connect_to_model((3, 4), (3, 3), cluster)
            client.query_model_async(np.zeros((3, 4)))
            assert model.serve(1, verbose=0) == 1
            client.query_model_join()
        model.private_summary(print_fn=lines.append, plot=tmp_path / "plan.png")
        assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")
        assert "The last run, of 3 rows, took the parties" in lines[-1]
        assert " %│" in lines[-1]


def test_share_says_how_many_rows_fit(keras: Any, make_config: Any, capsys: pytest.CaptureFixture[str]) -> None:
    model = keras.Sequential(
        [keras.layers.Input((8,)), keras.layers.Dense(5000), keras.layers.ReLU(), keras.layers.Dense(3)]
    )
    with TFECluster.from_config(make_config(request_mb=1, memory_mb=40)) as cluster, model.share(cluster):
        assert "rows fit into a run" in capsys.readouterr().out
        assert cluster.status()


def test_nothing_is_kept_on_the_model(keras: Any, cluster: TFECluster, tmp_path: Path) -> None:
    model = functional(keras)
    before = set(vars(model))
    with model.share(cluster):
        assert set(vars(model)) == before
        model.save(tmp_path / "shared.keras")
    known = weakref.ref(model)
    del model
    gc.collect()
    assert known() is None or known() not in hook_module._shared


# -- Names, versions, deployment ---------------------------------------------------------------------------------------


def asked(cluster: TFECluster, name: str = "") -> np.ndarray:
    with TFEWorker() as client:
        return client.connect_to_model((1, 4), (1, 3), cluster, model=name).query_model(X)


def close(answer: np.ndarray, model: Any) -> None:
    np.testing.assert_allclose(answer, model(X), atol=1e-3)


def states(cluster: TFECluster) -> dict[tuple[str, int], str]:
    return {(each.name, each.version): each.state for each in cluster.status()["server0"].models}


@pytest.fixture
def fresh() -> Iterator[TFECluster]:
    """With numbers of versions of its own."""
    with TFECluster(TFEWorker(), TFEWorker(), TFEWorker()) as started:
        yield started


def test_deployed_under_several_names(fresh: TFECluster, capsys: pytest.CaptureFixture[str], until: Any) -> None:
    keras: Any = importlib.import_module("keras")
    KerasHook(keras)
    first, second = functional(keras), functional(keras)
    with pytest.raises(StateError, match=r"call model\.share"):
        first.deploy()
    with pytest.raises(InputError, match="a model's name has up to 63 letters"):
        first.deploy(fresh, name="a b")
    first.deploy(fresh, name="a", input_range=(-1, 1))
    assert "deployed as 'a' version 1 by owner, digest " in capsys.readouterr().out
    second.share(fresh, name="b", verbose=0)
    assert states(fresh) == {("a", 1): "deployed", ("b", 1): "paused"}
    with pytest.raises(StateError, match="not shared as 'a', but as 'b'"):
        second.serve(name="a")
    with pytest.raises(RefusedError, match="'a' is deployed: the parties serve it without its owner"):
        first.serve()
    second.deploy()  # what is shared already
    close(asked(fresh, "a"), first)
    close(asked(fresh, "b"), second)
    with pytest.raises(RefusedError, match="several models, and none is the default"):
        asked(fresh)
    first.share(fresh, verbose=0)  # as the default one too
    first.deploy(name="model", verbose=0)
    close(asked(fresh), first)
    first.stop("a")
    assert states(fresh) == {("b", 1): "deployed", ("model", 1): "deployed"}
    first.stop()
    assert states(fresh) == {("b", 1): "deployed"}
    with pytest.raises(RefusedError, match="holds no model 'a'"):
        fresh.undeploy("a")
    fresh.undeploy("b", keep=True)
    assert states(fresh) == {("b", 1): "paused"}
    with pytest.raises(RefusedError, match="'b' version 1 of owner:owner is not deployed"):
        fresh.undeploy("b")
    second.deploy(verbose=0)
    fresh.undeploy("b")
    until(lambda: not any(each.models for each in fresh.status().values()), "it is gone")
    second.stop()


def test_a_version_is_replaced_while_it_is_served(fresh: TFECluster, until: Any) -> None:
    keras: Any = importlib.import_module("keras")
    KerasHook(keras)
    model, old, served = functional(keras), functional(keras), []
    old.set_weights(model.get_weights())
    model.share(fresh, verbose=0)
    thread = threading.Thread(target=lambda: served.append(model.serve(verbose=0)))
    thread.start()
    until(lambda: states(fresh) == {("model", 1): "serving"}, "it is served")
    with TFEWorker() as client:
        client.connect_to_model((1, 4), (1, 3), fresh)
        close(client.query_model(X), old)
        model.set_weights([weight + 1 for weight in model.get_weights()])
        with pytest.raises(PlanError):
            model.share(fresh, verbose=0, tolerance=1e-9)  # what fails changes nothing
        close(client.query_model(X), old)
        model.share(fresh, verbose=0)
        assert states(fresh) == {("model", 1): "retired", ("model", 2): "serving"}
        close(asked(fresh), model)
        close(client.query_model(X), old if client.model == ("model", 1) else model)
    until(lambda: states(fresh) == {("model", 2): "serving"}, "nobody needs the old one")
    close(asked(fresh), model)
    model.stop()
    thread.join(20)
    assert served == [5]
