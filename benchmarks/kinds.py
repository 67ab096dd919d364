"""What each kind of op costs among three processes joined by TLS: rounds, bytes, wall and CPU time; and how exact the
functions are, over their whole range.

A kind is measured by its last sample (`tests/ops/samples/`), which makes one value a row, so that a new kind is in the
table by itself. A family's `BENCH` names another sample where that one is not typical.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from benchmarks.parties import Measured, ThreeProcesses
from benchmarks.row import Row, mb
from keras_private.plan.builder import PlanBuilder
from keras_private.plan.evaluate import evaluate
from keras_private.plan.ops import KINDS, kind_of
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import Draft, Op, Tensor
from keras_private.plan.schedule import costs
from tests.ops.sample import Sample
from tests.ops.samples import BENCH, SAMPLES
from tests.plans import plan_of

MANY = 100_000
HEAD = (
    f"{'kind':<18}{'values':>8}{'rounds':>8}  {'bytes a value of P0, P1, P2':<32}{'wall ms':>10}{'CPU µs a value':>16}"
)


class Figure(NamedTuple):
    """One kind and number of values."""

    kind: str
    values: int
    rounds: int
    bytes_a_value: tuple[float, float, float]
    wall_ms: float
    cpu_us_a_value: float  # of all three parties together

    def line(self) -> str:
        sent = ", ".join(f"{each:.1f}" for each in self.bytes_a_value)
        times = f"{self.wall_ms:>10.4g}{self.cpu_us_a_value:>16.4g}"
        return f"{self.kind:<18}{self.values:>8}{self.rounds:>8}  {sent:<32}{times}"


def table(parties: ThreeProcesses, runs: int) -> list[Figure]:
    """Every kind with messages, for one value and for many."""
    found = []
    for kind in sorted(name for name, known in KINDS.items() if known.interactive and known.executable is not None):
        sample = BENCH.get(kind, SAMPLES[kind][-1])
        for values in (1, MANY):
            measured = of_sample(parties, kind, sample, values, 10 * runs if values == 1 else max(3, runs // 4))
            sent = measured.bytes_sent
            each = (sent[0] / values, sent[1] / values, sent[2] / values)
            cpu = 1000 * measured.cpu_ms / values
            found.append(Figure(kind, values, measured.rounds, each, measured.wall_ms, cpu))
    return found


def of_sample(parties: ThreeProcesses, kind: str, sample: Sample, values: int, runs: int) -> Measured:
    plan, random = sample.plan(kind), np.random.default_rng(0)
    rows = -(-values // math.prod(plan.tensors["y"].shape))
    weights = [weight.view(np.uint64) for weight in sample.raw_weights(random)]
    xs = [x if x.dtype == np.uint8 else x.view(np.uint64) for x in sample.raw_inputs(random, rows)]
    return parties.measure_op(plan, weights, xs, runs)


class Curve(NamedTuple):
    """A function of one number over its range, as the parties compute it."""

    name: str
    error: float  # largest
    measured: Measured


ACTIVATIONS = ("sigmoid", "tanh", "gelu", "silu")
REACH = 15  # they are looked at up to 2^15 in size
BEST = 2.0**-10.5
DECADES = (2.0**-20, 2.0**10)  # nine of them


def activations(parties: ThreeProcesses, runs: int) -> list[Curve]:
    """Largest absolute errors, f = 16: half of the numbers dense around 0, half of them anywhere."""
    random = np.random.default_rng(1)
    dense, wide = random.uniform(-10, 10, MANY // 2), random.uniform(-1, 1, MANY // 2) * 2.0**REACH
    x = np.concatenate([dense, wide, [2.0**REACH, -(2.0**REACH)]])
    return [curve(parties, name, (), x, 16, 24, REACH + 17, runs, relative=False) for name in ACTIVATIONS]


def inverses(parties: ThreeProcesses, runs: int) -> list[Curve]:
    """Largest relative errors over nine decades, numbers spread evenly by their logarithms."""
    random = np.random.default_rng(2)
    x = np.exp2(random.uniform(np.log2(DECADES[0]), np.log2(DECADES[1]), MANY // 10))
    functions = {"reciprocal": (*DECADES, 0.0), "rsqrt": (*DECADES, 1.0)}  # and a floor, or a factor
    return [curve(parties, *each, x, 32, 32, 43, runs, relative=True) for each in functions.items()]


def curve(
    parties: ThreeProcesses,
    name: str,
    parameters: tuple[float, ...],
    x: np.ndarray,
    frac: int,
    out: int,
    bound: int,
    runs: int,
    *,
    relative: bool,
) -> Curve:
    op = Op("spline", ("x",), (), "y", {"function": name, "parameters": parameters, "goal": 21, "frac": out})
    plan = plan_of(16, ["x"], ["y"], {"x": Tensor((), frac, bound), "y": Tensor((), out)}, [op])
    raw = np.rint(np.ldexp(x, frac)).astype(np.int64)
    measured = parties.measure_op(plan, [], [raw.view(np.uint64)], runs)
    expected: Any = kind_of(op).plain(op, [np.ldexp(raw.astype(np.float64), -frac)], [])
    error = np.abs(np.ldexp(measured.result.view(np.int64).astype(np.float64), -out) - expected)
    return Curve(name, float(np.max(error / np.abs(expected) if relative else error)), measured)


def rows(parties: ThreeProcesses, runs: int) -> list[Row]:
    """Functions and products, and what they are to reach."""
    few = max(3, runs // 4)
    curves, found, random = activations(parties, few), [], np.random.default_rng(3)
    for name, error, measured in curves:
        found.append(Row(f"{name} up to 2^{REACH}: largest error", error, "", BEST, in_bits(error), measured.cpu_ms))
    for name, error, measured in inverses(parties, few):
        found.append(Row(f"{name}, nine decades: relative error", error, "", 2**-10, in_bits(error), measured.cpu_ms))
    for classes in (10, 1000):
        draft = softmax(classes)
        x = random.uniform(-8, 8, (10_000 // classes, classes))
        measured = parties.measure(draft, x, few)
        off = np.ldexp(measured.result.view(np.int64).astype(np.float64), -draft.plan.precision) - evaluate(draft, x)
        error = float(np.max(np.abs(off)))
        found.append(Row(f"softmax of {classes:,}: largest error", error, "", 2**-10, in_bits(error), measured.cpu_ms))
        found.append(Row(f"softmax of {classes:,}, rounds", measured.rounds, "", 10 if classes == 10 else None))
    sigmoid = curves[0].measured
    found.append(Row(f"{MANY:,} sigmoids, median", sigmoid.wall_ms, "ms", 150, mb(sigmoid.bytes_sent), sigmoid.cpu_ms))
    dense = dense_sigmoid(random)
    one = parties.measure(dense, random.uniform(-1, 1, (1, 64)), few)
    answer = costs(dense.plan, 1)[-1]  # which is truncated by a product that follows elsewhere
    found.append(Row("dense layer and sigmoid, rounds", one.rounds - answer.rounds, "", 3, "bar the answer's rounding"))
    product = of_sample(parties, "mul", Sample(((), ()), {"drop": 16, "relu": False, "bound": 50}), MANY, few)
    found.append(Row("tensor by tensor, truncated, rounds", product.rounds, "", 2))
    each = sum(product.bytes_sent) / MANY
    found.append(Row("tensor by tensor, truncated, bytes a value", each, "B", 50, "all parties", product.cpu_ms))
    return found


def dense_sigmoid(random: np.random.Generator) -> Draft:
    builder = PlanBuilder((64,), (-1.0, 1.0))
    weight = builder.weight(random.normal(size=(64, 8)), "kernel")
    product = builder.op("matmul", builder.input, weights=weight)
    return optimise(builder.finish(builder.op("spline", product, function="sigmoid", parameters=(), goal=21)))


def softmax(classes: int) -> Draft:
    builder = PlanBuilder((classes,), (-8.0, 8.0))
    return optimise(builder.finish(builder.op("softmax", builder.input, axis=0)))


def in_bits(error: float) -> str:
    return f"2^{math.log2(error):.2f}"
