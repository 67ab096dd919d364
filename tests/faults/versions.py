"""The model that is shared while things break, in versions whose answers differ, and what they are in plain.

Versions 0 to 5 have one plan and therefore one digest: they only put the same outputs into another order, so a client
goes from one to the next by itself. From 6 on the plan is another one, and clients have to connect anew.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace
from typing import Any

import numpy as np

from keras_private.plan.builder import PlanBuilder
from keras_private.plan.evaluate import evaluate
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import Draft
from keras_private.plan.scoring import evaluations_of

Array = np.ndarray[Any, np.dtype[np.float64]]

INPUTS, HIDDEN, OUTPUTS, DEPTH = 6, 24, 3, 6
VERSIONS = 8
TOLERANCE = 1e-2  # of an answer; those of two versions are further apart, see `tests/faults/test_versions.py`
_ORDERS = tuple(itertools.permutations(range(OUTPUTS)))
METRIC = "mean_absolute_error"
ROWS = 40  # of an evaluation


@functools.cache
def drafts(version: int) -> tuple[Draft, Draft]:
    """A version as it was recorded, and as it is shared."""
    random = np.random.default_rng(version // len(_ORDERS))
    builder = PlanBuilder((INPUTS,), (-1.0, 1.0))
    value, width = builder.input, INPUTS
    for layer in range(DEPTH):  # enough rounds for something to go wrong in the middle of them
        weight = builder.weight(random.normal(size=(width, HIDDEN)) * np.sqrt(2 / width), f"w{layer}")
        value, width = builder.op("relu", builder.op("matmul", value, weights=[weight], layer=f"dense_{layer}")), HIDDEN
    last = random.normal(size=(width, OUTPUTS))[:, _ORDERS[version % len(_ORDERS)]]
    recorded = builder.finish(builder.op("matmul", value, weights=[builder.weight(last, "last")], layer="last"))
    made = optimise(recorded)
    return recorded, replace(made, plan=replace(made.plan, evaluations=evaluations_of({METRIC: "client"}, made.plan)))


def batch(rows: int, seed: int) -> Array:
    """The inputs of query `seed`."""
    return np.random.default_rng(seed).uniform(-1, 1, (rows, INPUTS))


def targets(rows: int, seed: int) -> Array:
    return np.random.default_rng(seed).uniform(-1, 1, (rows, OUTPUTS))


def answer(version: int, data: Array) -> Array:
    """What the plain model says."""
    found: Array = evaluate(drafts(version)[0], data)
    return found


def matching(data: Array, found: Any) -> list[int]:
    """The versions that would have answered so."""
    return [each for each in range(VERSIONS) if np.abs(answer(each, data) - np.asarray(found)).max() < TOLERANCE]


def matching_score(data: Array, wanted: Array, value: float) -> list[int]:
    """The versions of which an evaluation would have come to so much."""
    errors = (np.abs(answer(each, data) - wanted).mean() for each in range(VERSIONS))
    return [each for each, error in enumerate(errors) if abs(error - value) < TOLERANCE / 10]
