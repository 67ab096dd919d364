"""Every layer, over its arguments: the recorded plan and the optimised one in plain numbers, against Keras."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from keras_private.lowering import draft_of
from keras_private.plan.evaluate import evaluate
from keras_private.plan.optimise import optimise

from .cases import CASES, Case

RUNS = [pytest.param(case, keras, id=f"{keras}-{case.name}") for case in CASES for keras in case.keras]


@pytest.mark.parametrize(("case", "keras"), RUNS)
def test_plan_computes_what_keras_computes(case: Case, keras: str) -> None:
    model = case.model(importlib.import_module(keras))
    assert {type(layer).__name__ for layer in model.layers}.issuperset(case.layers)
    x = case.inputs()
    draft = draft_of(model, case.range)
    expected = np.asarray(model(x, training=False))
    np.testing.assert_allclose(evaluate(draft, x), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(evaluate(optimise(draft), x), expected, rtol=1e-5, atol=1e-5)
