"""With calibration data everything is proven, in few cuts, for every input in range: what is too large saturates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_private.plan import cost
from keras_private.plan.builder import Draft
from keras_private.plan.evaluate import evaluate
from keras_private.plan.measure import calibrated, measure
from keras_private.plan.ops import CONTRACT_BITS, Product, kind_of
from keras_private.plan.optimise import optimise, simplify
from keras_private.plan.origins import GUESSED, MEASURED, PROVED, guess
from keras_private.plan.plan import Plan
from keras_private.plan.saturate import ROOM_BITS
from keras_private.plan.simulate import simulate
from keras_private.plan.summary import private_summary, unproven
from tests.plans import input_shape, the_output

from . import integers
from .models import Model

WIDTH = 24
RANDOM = np.random.default_rng(5)


def deep(layers: int = 26, input_range: tuple[float, float] | None = (-1.0, 1.0), *, bias: bool = True) -> Draft:
    """Dense layers and ReLUs that keep data about as large as it is; worst cases grow threefold a layer."""
    model = Model((WIDTH,), input_range, size=(2 / WIDTH) ** 0.5)
    for number in range(layers):
        if bias:
            model.dense(WIDTH, layer=f"dense{number}")
        else:
            model.op("matmul", weights=[model.weight(WIDTH, WIDTH)], layer=f"dense{number}")
        model.relu()
    model.dense(3, layer="last")
    return model.draft()


def branches() -> Draft:
    """Residual blocks, each with a narrow waist at which a cut is cheap."""
    model = Model((6, 6, 8), (0.0, 1.0), size=0.35)
    for number in range(12):
        top = model.at
        model.conv(2, layer=f"waist{number}", pads=(1, 1, 1, 1))
        model.relu()
        model.conv(8, layer=f"wide{number}", pads=(1, 1, 1, 1))
        model.op("add", [top, model.at])
        model.relu()
    model.average(6)
    model.flatten()
    model.dense(3, layer="last")
    return model.draft()


def gates() -> Draft:
    """Each block multiplies what a layer makes by what another one lets through."""
    model = Model((WIDTH,), (-1.0, 1.0), size=(1.2 / WIDTH) ** 0.5)
    for number in range(16):
        top = model.at
        left = model.dense(WIDTH, layer=f"left{number}")
        model.op("matmul", top, weights=[model.weight(WIDTH, WIDTH)])
        model.op("mul", [left, model.op("clip", low=-1.0, high=1.0)])
    model.dense(3, layer="last")
    return model.draft()


def squares() -> Draft:
    """Each block multiplies values by values, squares them, and normalises."""
    model = Model((WIDTH,), (-1.0, 1.0), size=(2 / WIDTH) ** 0.5)
    for number in range(4):
        left = model.dense(WIDTH, layer=f"left{number}")
        model.dense(WIDTH, layer=f"right{number}")
        model.op("mul", [left, model.at])
        model.op("square")
        model.op("scale", factor=0.25)
        model.dense(WIDTH, layer=f"dense{number}")
        model.op("normalise", axes=(0,), epsilon=1e-3, centre=True)
    return model.draft()


def pooled() -> Draft:
    """Behind each pool there are fewest values."""
    model = Model((16, 16, 2), (0.0, 1.0), size=0.4)
    for number in range(4):
        model.conv(12, layer=f"conv{number}", pads=(1, 1, 1, 1))
        model.relu()
        model.conv(12, layer=f"more{number}", pads=(1, 1, 1, 1))
        model.maximum()
    model.flatten()
    model.dense(3, layer="last")
    return model.draft()


def waists() -> Draft:
    """Wide and narrow layers take turns."""
    model = Model((WIDTH,), (-1.0, 1.0), size=0.4)
    for number in range(40):
        model.dense((4, 48)[number % 2], layer=f"dense{number}")
        model.relu()
    return model.draft()


DRAFTS: dict[str, Callable[[], Draft]] = {
    each.__name__: each for each in (deep, branches, gates, squares, pooled, waists)
}
_TABLES = pytest.mark.slow  # they take seconds


@pytest.fixture(params=[pytest.param(name, marks=_TABLES if name == "squares" else ()) for name in DRAFTS])
def draft(request: pytest.FixtureRequest) -> Draft:
    return DRAFTS[request.param]()


def data(draft: Draft, count: int = 40) -> np.ndarray:
    (given,) = draft.plan.inputs
    low, high = given.range or (-1, 1)
    return RANDOM.uniform(low, high, (count, *input_shape(draft.plan)))


def clips(plan: Plan) -> list[float]:
    return [op.attrs["high"] for op in plan.ops if op.kind == "clip"]


def test_all_is_proven_in_few_cuts_and_as_exact(draft: Draft) -> None:
    x = data(draft)
    before, done = optimise(draft), optimise(draft, calibration=[x])
    assert unproven(before.plan)
    assert not unproven(done.plan)
    assert set(done.origins.values()) == {PROVED}
    layers = sum(1 for op in simplify(draft).plan.ops if isinstance(kind_of(op), Product))
    assert 1 <= len(clips(done.plan)) - len(clips(before.plan)) <= layers / 2
    plain = evaluate(draft, x)
    assert np.abs(simulate(done, [x])[0] - plain).max() < 2e-3 * np.ptp(plain)
    np.testing.assert_allclose(evaluate(done, x), plain, atol=2e-3 * np.ptp(plain))  # nothing of it is cut off
    assert done.accuracy is not None
    assert done.accuracy.calibrated


@pytest.mark.parametrize("name", ["deep", "branches", "gates", "pooled"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), kind=st.sampled_from(["corners", "one end", "aligned"]))
def test_no_input_in_range_wraps(name: str, seed: int, kind: str) -> None:
    """As integers, where a wrap would show: in what is far from any data values are as plain ones that saturate."""
    draft, done = _compiled(name)
    (given,) = draft.plan.inputs
    assert given.range is not None
    random, shape = np.random.default_rng(seed), (3, *input_shape(draft.plan))
    x = random.choice(given.range, shape)
    if kind == "one end":
        x = np.full(shape, random.choice(given.range))
    elif kind == "aligned":  # with the first layer's weights: all of a unit's products add up
        first = next(iter(simplify(draft).values.values()))
        x = np.where(np.resize(first, shape) > 0, *given.range[::-1])
    raw = integers.run(done, x)
    for op in done.plan.ops:
        tensor = done.plan.tensors[op.output]
        assert tensor.bound is not None
        assert np.abs(raw[op.output].astype(np.float64)).max() < 2.0**tensor.bound
        if isinstance(kind_of(op), Product):
            assert np.abs(raw[f"{op.output} product"].astype(np.float64)).max() < 2.0 ** op.attrs["bound"]
    plain = evaluate(done, x)
    off = np.abs(raw[the_output(done.plan).tensor] * 2.0**-16 - plain).max()
    assert off < 4e-3 * max(1.0, float(np.abs(plain).max()))


_compiled_drafts: dict[str, tuple[Draft, Draft]] = {}


def _compiled(name: str) -> tuple[Draft, Draft]:
    if name not in _compiled_drafts:
        draft = DRAFTS[name]()
        _compiled_drafts[name] = draft, optimise(draft, calibration=[data(draft) * 0.05])
    return _compiled_drafts[name]


def test_an_outlier_saturates_some_eight_times_above_the_data() -> None:
    draft = deep(bias=False)
    x = data(draft) * 2.0**-10
    done = optimise(draft, calibration=[x])
    seen = calibrated(simplify(draft), [x]).held
    ends = clips(done.plan)
    assert all(np.log2(end).is_integer() for end in ends)
    assert min(ends) >= 2.0**ROOM_BITS * min(size for size in seen.values() if size)
    assert max(ends) <= 2.0 ** (ROOM_BITS + 1) * max(seen.values())
    far = np.sign(RANDOM.normal(size=(1, WIDTH)))
    assert np.abs(evaluate(draft, far) - evaluate(done, far)).max() > 0.05


def test_a_cut_takes_the_place_of_a_relu_and_is_where_values_are_few() -> None:
    done = optimise(deep(), calibration=[data(deep())])
    assert {op.attrs["low"] for op in done.plan.ops if op.kind == "clip"} == {0.0}
    before = optimise(deep())
    relus = sum(bool(op.attrs.get("relu")) for op in before.plan.ops)
    assert sum(bool(op.attrs.get("relu")) for op in done.plan.ops) == relus - len(clips(done.plan))
    plan = optimise(waists(), calibration=[data(waists())]).plan
    assert {plan.tensors[op.output].shape for op in plan.ops if op.kind == "clip"} == {(4,)}


def test_what_is_proven_already_is_left_alone() -> None:
    draft = deep(layers=3)
    assert optimise(draft, calibration=[data(draft)]).plan.ops == optimise(draft).plan.ops


def test_without_data_or_ranges_or_if_told_nothing_is_cut() -> None:
    draft = deep()
    x = data(draft)
    measured, guessed = optimise(draft, calibration=[x], saturate=False), optimise(draft)
    unranged = optimise(deep(input_range=None), calibration=[x])
    assert not clips(measured.plan) + clips(guessed.plan) + clips(unranged.plan)
    assert set(measured.origins.values()) == {PROVED, MEASURED}
    assert set(guessed.origins.values()) == {PROVED, GUESSED}
    assert set(unranged.origins.values()) == {MEASURED}
    assert guess(measured) == guess(optimise(draft, calibration=[x])) == ""
    assert "share(calibration=x)" in guess(guessed)
    assert "input_range=(low, high), calibration=x" in guess(optimise(deep(input_range=None)))
    assert "16 random inputs" not in private_summary(measured.plan, accuracy=measured.accuracy)
    assert "inputs of the calibration data" in private_summary(measured.plan, accuracy=measured.accuracy)


def test_measured_values_have_room_and_windows_only_follow_proofs() -> None:
    """What is measured decides on fractional bits, never on how many bits a comparison looks at."""
    draft = deep()
    x = data(draft)
    done = optimise(draft, calibration=[x * 1e-3], saturate=False)
    values = measure(done, (x * 1e-3,)).sizes
    unproved = [op for op in done.plan.ops if done.origins[op.output] == MEASURED]
    assert unproved
    for op in unproved:
        tensor = done.plan.tensors[op.output]
        raw = np.log2(values[op.output]) + tensor.frac + op.attrs["drop"]
        assert raw <= CONTRACT_BITS - 8
        assert op.attrs["bound"] == CONTRACT_BITS or tensor.bound is None
        if op.attrs["relu"] and op.attrs["bound"] == CONTRACT_BITS:
            window = cost.window(cost.product_bound(op), op.attrs["drop"], 1000)
            assert window.top >= CONTRACT_BITS
    again = optimise(draft, calibration=[x], saturate=False)
    for op in again.plan.ops:  # the same proofs, whatever the data
        if again.origins[op.output] == PROVED and op.attrs.get("relu"):
            assert op.attrs["bound"] < CONTRACT_BITS


def test_data_is_taken_in_pieces_and_from_all_over() -> None:
    draft = simplify(deep(3))
    x = data(draft, 5000).astype(np.float32)
    x[:-1] *= 1e-3
    found = calibrated(draft, [x])
    assert found.seen[draft.plan.inputs[0].tensor] == pytest.approx(np.abs(x).max())  # the last row is one of them
    assert len(found.outputs[0]) <= 8
    whole = measure(draft, (x[:8].astype(np.float64),))
    assert found.sizes.keys() == whole.sizes.keys()


def test_the_same_data_makes_the_same_plan() -> None:
    draft, x = deep(), data(deep())
    before = replace(draft.plan)
    assert optimise(draft, calibration=[x]).plan == optimise(draft, calibration=[x]).plan
    assert draft.plan == before


def test_factors_are_truncated_as_far_as_their_product_is_proven() -> None:
    """What comes out of tables has more bits than there is room for, if it may be far larger than any data was."""
    model = Model((4,), (-(2.0**14), 2.0**14))
    top = model.at
    left = model.op("spline", top, function="silu", parameters=(), goal=21)
    right = model.op("spline", top, function="sigmoid", parameters=(), goal=21)
    model.op("mul", [left, right])
    draft = model.draft()
    x = RANDOM.uniform(-4, 4, (50, 4))
    done = optimise(draft, calibration=[x])
    assert not unproven(done.plan)
    assert np.abs(simulate(done, [x])[0] - evaluate(draft, x)).max() < 5e-3
