"""Operations between layers against Keras: what is recorded of them, in plain numbers."""

from __future__ import annotations

import numpy as np
import pytest

from keras_private.lowering import draft_of
from keras_private.plan.evaluate import evaluate_all

from .cases_operations import OPERATIONS, Operation


@pytest.mark.parametrize("case", OPERATIONS, ids=lambda case: case.name)
def test_plan_computes_what_keras_computes(case: Operation) -> None:
    model, x = case.model(), case.inputs()
    expected = model(x)
    expected = expected if isinstance(expected, list | tuple) else [expected]
    low, high = case.range
    found = evaluate_all(draft_of(model, (low, high - 1 if "int" in case.dtype else high)), [x])
    for got, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, np.asarray(right), rtol=case.tolerance, atol=case.tolerance)
