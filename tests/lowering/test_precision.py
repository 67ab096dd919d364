"""From 8 to 24 fractional bits every layer gives what Keras gives, the more exactly the more bits there are."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from keras_private.lowering import draft_of
from keras_private.plan.evaluate import evaluate
from keras_private.plan.optimise import optimise
from keras_private.plan.simulate import simulate

from .cases import CASES, Case
from .cases.models import CASES as MODELS

_FEW = {case.name for case in MODELS[:4]}
TABLES = 1e-3  # of the answers' range: what is read from a table is off by, at any precision


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name, marks=() if case.name in _FEW else pytest.mark.slow) for case in CASES]
)
def test_error_by_precision(case: Case) -> None:
    draft = draft_of(case.model(importlib.import_module(case.keras[0])), case.range)
    x = case.inputs(8)
    plain = evaluate(draft, x)
    span = max(float(np.ptp(plain)), 1e-2 * float(np.abs(plain).max()), 1e-9)
    errors = []
    for precision in (8, 16, 24):
        (answers,) = simulate(optimise(draft, precision=precision), [x])
        errors.append(float(np.abs(answers - plain).max()) / span)
    low, usual, high = errors
    assert low < 0.1
    assert usual < max(low * 1.01, TABLES)
    assert high < max(usual / 16, TABLES)
