"""`kp.check` and `keras-private plan`: what would be refused, what a query would cost, lowerings that differ."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import keras_private as kp
from keras_private.cli import app
from keras_private.errors import ConfigError, UnsupportedModelError
from keras_private.lowering import lowers, secret
from keras_private.plan import schedule
from keras_private.plan.memory import row_bytes

from .lowering.cases import CASES, randomise

BY_NAME = {case.name: case for case in CASES}


@pytest.fixture(params=["keras", "tf_keras"])
def keras(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


def small(keras: Any) -> Any:
    return BY_NAME["small MNIST model"].model(keras)


def refused(keras: Any) -> Any:
    x = y = keras.Input((4,))
    for number in range(5):
        y = keras.layers.ELU(alpha=100.0, name=f"elu_{number}")(keras.layers.Dense(4)(y))
    return keras.Model(x, keras.layers.LayerNormalization(epsilon=10.0, name="norm")(y))


def test_what_a_query_would_cost(keras: Any) -> None:
    report = kp.check(small(keras), (0, 1), batch=3)
    assert report.ok
    assert report.problems == ()
    assert report.plan is not None
    declared = schedule.total(report.plan, 3)
    assert (report.rounds, report.sent) == (declared.rounds, declared.sent)
    assert report.weight_bytes == 16 * sum(int(np.prod(weight.shape)) for weight in report.plan.weights.values())
    assert report.run_bytes == 3 * row_bytes(report.plan)
    assert set(report.network_seconds) == {"loopback", "LAN", "WAN"}
    text = str(report)
    assert "batch 3" in text
    assert f"{report.rounds}" in text
    assert "Memory of a party" in text
    assert report.accuracy is not None
    assert f"Largest error expected of an output: {report.accuracy.error:.2g}" in text
    assert "proven for every value" in text


def test_what_would_be_refused(keras: Any) -> None:
    report = kp.check(refused(keras))
    assert not report.ok
    assert len(report.problems) == 2
    assert report.problems[0].startswith("elu_0, elu_1, elu_2 and 2 more (ELU): alpha 100.0 is not supported")
    assert "cannot be shared, 2 problems:\n  - elu_0" in str(report)
    with pytest.raises(UnsupportedModelError, match="no cost"):
        _ = report.rounds


def test_a_range_that_does_not_fit_is_a_problem(keras: Any) -> None:
    x = keras.Input((4,))
    model = randomise(keras.Model(x, keras.layers.Dense(2)(x)))
    (problem,) = kp.check(model, (-1e12, 1e12), precision=24).problems
    assert "input_range" in problem


def test_what_clients_are_told(keras: Any) -> None:
    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.Dense(3, activation="softmax")(x))
    assert "clients see the logits" in str(kp.check(model))
    report = str(kp.check(model, (-1, 1), reveal="label"))
    assert "argmax" in report
    assert "label to the client" in report
    assert "clients see the logits" not in report


@pytest.mark.parametrize("given", [{"batch": 0}, {"batch": 1.5}, {"reveal": "owner"}, {"reveal": {"outputs": "label"}}])
def test_arguments_that_make_no_sense(given: dict[str, Any]) -> None:
    import keras

    with pytest.raises(ConfigError):
        kp.check(small(keras), **given)
    with pytest.raises(ConfigError, match="takes a Keras model"):
        kp.check("model.keras")


def offset_layer(keras: Any) -> Any:
    class Offset(keras.layers.Layer):  # type: ignore[misc]
        def build(self, shape: Any) -> None:
            self.offset = self.add_weight(shape=(shape[-1],), initializer="ones", name="offset")

        def call(self, x: Any) -> Any:
            return x + self.offset

    return Offset


@pytest.mark.parametrize(
    ("factor", "agrees"),
    [(1.0, True), (1.1, False)],
)
def test_a_lowering_of_ones_own_is_compared_with_its_layer(keras: Any, factor: float, agrees: bool) -> None:
    offset = offset_layer(keras)

    @lowers(offset)
    def lower_offset(prot: Any, layer: Any, x: Any) -> Any:
        return prot.add(x, secret(prot, factor * np.asarray(layer.offset), "offset"))

    x = keras.Input((4,))
    report = kp.check(keras.Model(x, keras.layers.Dense(2)(offset(name="mine")(x))))
    assert report.problems == ()
    (comparison,) = report.lowerings
    assert (comparison.layer, comparison.agrees, report.ok) == ("mine", agrees, agrees)
    assert comparison.difference == pytest.approx(abs(factor - 1), abs=1e-6)
    assert "lower_offset" in str(report)
    assert ("DIFFERS" in str(report)) is not agrees


def test_a_lowering_with_two_inputs_is_compared(keras: Any) -> None:
    class Difference(keras.layers.Layer):  # type: ignore[misc]
        def call(self, xs: Any) -> Any:
            return xs[0] - 2 * xs[1]

    lowers(Difference)(lambda prot, layer, xs: prot.sub(xs[0], xs[1]))
    x = keras.Input((3, 2))
    (comparison,) = kp.check(keras.Model(x, Difference()([x, keras.layers.Dense(2)(x)]))).lowerings
    assert comparison.difference == pytest.approx(2, abs=0.1)  # one xs[1] too few


CLI = CliRunner()


def test_the_command(keras: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    small(keras).save(path)
    picture = tmp_path / "plan.svg"
    options = ["--plot", str(picture), "--keras", keras.__name__, "--input-range", "0", "1", "--batch", "2"]
    result = CLI.invoke(app, ["plan", str(path), *options])
    assert result.exit_code == 0, result.output
    assert "batch 2" in result.stdout
    assert "LAN (1 Gb/s, 0.2 ms)" in picture.read_text()
    choices = ["--enforce-range", "--exact-truncation", "--guard", "--evaluation", "client"]
    result = CLI.invoke(app, ["plan", str(path), *options, *choices])
    assert result.exit_code == 0, result.output
    assert "(range check)" in result.stdout
    assert "floor" in result.stdout
    assert "told to the client" in result.stdout
    refused(keras).save(path)
    result = CLI.invoke(app, ["plan", str(path), *options])
    assert result.exit_code == 1
    assert "cannot be shared, 2 problems" in result.stdout


def test_the_command_runs_no_code_of_the_file(tmp_path: Path) -> None:
    import keras

    x = keras.Input((4,))
    ran = tmp_path / "ran"
    where = str(ran)
    touch = keras.layers.Lambda(lambda x: (__import__("pathlib").Path(where).touch(), x)[1])
    keras.Model(x, touch(x)).save(tmp_path / "lambda.keras")
    ran.unlink(missing_ok=True)
    result = CLI.invoke(app, ["plan", str(tmp_path / "lambda.keras")])
    assert isinstance(result.exception, ConfigError)
    assert "is not run" in str(result.exception)
    assert not ran.exists()


@pytest.mark.parametrize(("name", "expected"), [("absent.keras", "no file"), ("model.h5", "no .keras file")])
def test_files_that_cannot_be_read(tmp_path: Path, name: str, expected: str) -> None:
    result = CLI.invoke(app, ["plan", str(tmp_path / name)])
    assert isinstance(result.exception, ConfigError)
    assert expected in str(result.exception)


def test_the_command_knows_layers_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_layers.py").write_text(
        "import keras\n"
        "from keras_private.lowering import lowers\n"
        "@keras.saving.register_keras_serializable()\n"
        "class Twice(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return x * 2\n"
        "@lowers(Twice)\n"
        "def lower_twice(prot, layer, x):\n"
        "    return prot.add(x, x)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    own = importlib.import_module("own_layers")
    import keras

    x = keras.Input((4,))
    keras.Model(x, own.Twice()(x)).save("model.keras")
    result = CLI.invoke(app, ["plan", "model.keras", "--import", "own_layers"])
    assert result.exit_code == 0, result.output
    assert "own_layers.lower_twice agrees" in result.stdout
