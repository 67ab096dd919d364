"""Both forms of a plan are reckoned with alike: an executable one is what a recorded one was, with some ops joined."""

from __future__ import annotations

import numpy as np
import pytest

from keras_private.plan.measure import measure
from keras_private.plan.ops import KINDS
from keras_private.plan.optimise import optimise, simplify
from keras_private.plan.plan import Op

from .models import Model


def test_a_fused_relu_does_not_change_what_is_reckoned_with() -> None:
    """Neither is a layer's result as large as its input, nor is what a ReLU has made of it all that there was."""
    model = Model((8,))
    for size in (1e-3, 1e3, 1.0):
        model.size = size  # of the weights
        model.dense(8)
        model.relu()
    recorded = simplify(model.draft())
    done = optimise(model.draft())
    assert [op.kind for op in done.plan.ops] == ["matmul"] * 3
    x = np.random.default_rng(1).normal(size=(50, 8))
    before, after = measure(recorded, (x,)).sizes, measure(done, (x,)).sizes
    products = [op.output for op in recorded.plan.ops if op.kind == "matmul"]
    assert [after[op.output] for op in done.plan.ops] == pytest.approx([before[name] for name in products], rel=1e-2)


@pytest.mark.parametrize("factor", [3.0, -0.25])
def test_a_public_factor_is_reckoned_with_in_either_form(factor: float) -> None:
    recorded = Op("scale", ("x",), (), "y", {"factor": factor})
    whole = Op("scale_int", ("x",), (), "y", {"multiplier": int(factor * 8), "shift": 3})
    for op in (recorded, whole):
        assert KINDS[op.kind].reckoned(op, 1.0, [2.0], []) == 2 * abs(factor)
