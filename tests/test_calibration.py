"""Calibration data: what is taken, what is refused and how it is said; in `share`, `check` and the command."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import keras_private as kp
from keras_private.calibration import arrays_of, load
from keras_private.cli import app
from keras_private.errors import InputError
from keras_private.plan.builder import PlanBuilder
from keras_private.plan.plan import BIT, INTEGER, Output, Plan


def plan(takes: str = "array", **given: Any) -> Plan:
    builder = PlanBuilder()
    inputs = [builder.add_input("image", (2, 3), range=(0, 1), **given)]
    if takes != "array":
        inputs.append(builder.add_input("age", (3,), range=(-9, 9), kind=INTEGER))
        inputs.append(builder.add_input("old", (3,), kind=BIT))
    outputs = [Output(f"out{place}", tensor) for place, tensor in enumerate(inputs)]
    outputs = [Output(made.name, made.tensor, kind) for made, kind in zip(outputs, (None, INTEGER, BIT), strict=False)]
    outputs[0] = Output("out0", inputs[0])
    return builder.finish(outputs, takes=takes).plan


PARTS = {"image": np.full((4, 2, 3), 0.5), "age": np.full((4, 3), -9), "old": np.ones((4, 3), bool)}


@pytest.mark.parametrize("form", [dict, list, tuple])
def test_as_the_model_takes_it_or_by_names(form: type) -> None:
    data = PARTS if form is dict else form(PARTS.values())
    for array, part in zip(arrays_of(data, plan("list")), PARTS.values(), strict=True):
        assert array is part  # nothing is copied before it is known what is needed


@pytest.mark.parametrize(
    "data", [PARTS["image"], {"image": PARTS["image"]}, PARTS["image"].tolist(), [PARTS["image"][0]]]
)
def test_of_one_input(data: Any) -> None:
    (found,) = arrays_of(data, plan())
    assert found.shape[1:] == (2, 3)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"image": PARTS["image"], "other": 1}, "has 'image', 'other'; the model's inputs are 'image'"),
        (np.zeros((4, 3, 2)), "shape (4, 3, 2); (rows, 2, 3) is needed"),
        (np.zeros((2, 3)), "shape (2, 3)"),
        (np.zeros((0, 2, 3)), "shape (0, 2, 3)"),
        (np.full((4, 2, 3), np.nan), "NaN or infinite"),
        (np.full((4, 2, 3), np.inf), "NaN or infinite"),
        (np.full((4, 2, 3), 1.5), "reaches from 1.5 to 1.5, and input_range is (0.0, 1.0)"),
        (np.array([["a"]]), "numbers are needed"),
        (np.ma.masked_all((4, 2, 3)), "none of them masked"),
        ([[1.0], [1.0, 2.0]], "rectangular"),
    ],
)
def test_what_is_refused(data: Any, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        arrays_of(data, plan())


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"age": np.zeros((5, 3))}, "as many rows of every input; it has 'image' 4, 'age' 5"),
        ({"age": np.full((4, 3), 0.5)}, "'age': it holds numbers that are not whole"),
        ({"old": np.full((4, 3), 2)}, "'old': it reaches from 2 to 2, and input_range is (0.0, 1.0)"),
    ],
)
def test_what_is_refused_of_several(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        arrays_of(PARTS | changed, plan("dict"))
    with pytest.raises(InputError, match="a part for each of 'image', 'age', 'old'"):
        arrays_of(PARTS["image"], plan("list"))


def test_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", PARTS["image"])
    np.savez(tmp_path / "all.npz", **PARTS)
    assert np.array_equal(load(tmp_path / "one.npz"), PARTS["image"])
    assert load(tmp_path / "all.npz").keys() == PARTS.keys()
    np.save(tmp_path / "array.npy", PARTS["image"])
    np.savez(tmp_path / "objects.npz", np.array([{}]))
    np.savez(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no arrays")
    for name in ("array.npy", "objects.npz", "none.npz", "text.npz", "missing.npz"):
        with pytest.raises(InputError, match=name):
            load(tmp_path / name)


def network(layers: int = 15) -> Any:
    import keras

    keras.utils.set_random_seed(3)
    x = y = keras.Input((64,), name="x")
    for _ in range(layers):
        y = keras.layers.Dense(64, "relu", kernel_initializer="he_normal")(y)
    return keras.Model(x, keras.layers.Dense(2)(y))


def test_check() -> None:
    model, x = network(), np.random.default_rng(1).uniform(-1, 1, (64, 64))
    for guard, notice in ((None, "guard=True tells clients of such rows"), (True, "in which a value was cut off")):
        said = " ".join(repr(kp.check(model, (-1, 1), calibration=x, guard=guard)).split())
        assert "proven for every value" in said
        assert "are cut off in dense" in said
        assert notice in said
    with pytest.raises(InputError, match="input_range"):
        kp.check(model, (-1, 1), calibration=2 * x)


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    model, x = network(), np.random.default_rng(1).uniform(-1, 1, (64, 64))
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", x=x)
    command = ["plan", str(tmp_path / "model.keras"), "--input-range", "-1", "1"]
    said = CliRunner().invoke(app, [*command, "--calibration", str(tmp_path / "data.npz")])
    assert said.exit_code == 0
    assert "proven for every value" in said.output
    for others in ([], ["--calibration", str(tmp_path / "data.npz"), "--no-saturate"]):
        assert "not proven" in CliRunner().invoke(app, [*command, *others]).output


def test_share_says_what_it_guessed_and_what_saturates_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    import keras

    kp.KerasHook(keras)
    model, x = network(), np.random.default_rng(1).uniform(-1, 1, (64, 64)).astype(np.float32)
    with kp.TFECluster(kp.TFEWorker(), kp.TFEWorker(), kp.TFEWorker()) as cluster:
        model.share(cluster, input_range=(-1, 1))
        assert "ranges guessed from random inputs, not proved: " in capsys.readouterr().out
        with model.share(cluster, input_range=(-1, 1), calibration=x), kp.TFEWorker() as client:
            assert "guessed" not in capsys.readouterr().out
            client.connect_to_model(cluster)
            client.query_model_async(x[:2])
            model.serve(num_requests=1, verbose=0)
            answers = client.query_model_join()
    np.testing.assert_allclose(answers, model(x[:2]), atol=2e-3)
