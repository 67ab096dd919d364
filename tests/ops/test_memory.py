"""What a kind declares that a party needs of memory is an estimate from above, held against what is allocated.

That it is not from far is looked at on whole models (`tests/plan/test_memory.py`): a row of one value has planes of 64.
"""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from keras_private.mpc.kernels import warm_up
from keras_private.plan.ops import KINDS
from keras_private.plan.working import BITS, SHARE
from tests.mpc.three import Three, shares_of

from .bound import every_executable_sample, protocol, raw_words, runs_of
from .samples import SAMPLES

VALUES = 8_000
OVERHEAD = 1 << 16  # of a party, whatever the number of values: generators, threads, lists


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """What kernels take to be loaded is no op's."""
    warm_up()


@every_executable_sample
def test_no_more_is_allocated_than_declared(memory_three: Three, kind: str, number: int) -> None:
    sample, random = SAMPLES[kind][number], np.random.default_rng(number)
    plan = sample.plan(kind)
    (op,) = plan.ops
    rows = -(-VALUES // sample.outputs(kind))
    weights = [shares_of(weight.view(np.uint64)) for weight in sample.raw_weights(random)]
    xs = [shares_of(raw_words(x)) for x in sample.raw_inputs(random, rows)]
    runs, made = runs_of(plan, weights), plan.tensors["y"]
    tracemalloc.start()
    try:
        memory_three.run(protocol, runs, (rows, *made.shape), *xs)
        peak = tracemalloc.get_traced_memory()[1] / 3  # the parties run in lockstep
    finally:
        tracemalloc.stop()
    output = (BITS if made.bit else SHARE) * math.prod(made.shape)
    declared = rows * (output + KINDS[kind].memory(op, plan, math.prod(made.shape)))  # as `plan.memory` reckons
    assert peak <= declared + OVERHEAD
