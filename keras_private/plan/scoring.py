"""Scoring: the plans by which parties evaluate a model on data and targets that they do not see.

Theory of operation. A *scoring plan* is a served plan with one more input, the targets, and with ops behind it that
make of every row its score: 1 where the class is right and 0 where it is not, or how far the output is off; and 0 for a
row that has no answer because of a notice (`ports.py`), which is added up too. It is a plan like any other, in which
rows never meet. The sum over the rows is no op: a party adds up its shares of the scores, which takes no message,
instead of sending them to a client (`party/tally.py`). So no plan that an owner may write can add up rows, and what
adds them up only ever does it for the rows of one client.

Nobody uploads a scoring plan. Every party derives it, always in the same way, from the served plan and a metric that
this plan names; the weights are those of the served plan. Bounds go on from the bound of the plan's output.

A right class is argmax(output) = target. (It would be as right to compare the output at the target with the largest
one, which is a third cheaper beside a net that costs a hundred times as much; but then targets would have to come as
one-hot numbers, and a client could send others. A
class number is one, whatever is sent: beyond the classes it is taken modulo a power of two, and equals one at most.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from keras_private.errors import PlanError
from keras_private.plan import bounds
from keras_private.plan.floors import floored, is_floored
from keras_private.plan.interval import Interval
from keras_private.plan.ops import Product, dropped, infer, kind_of
from keras_private.plan.ops.order import MAX_RANKED
from keras_private.plan.plan import (
    BIT,
    CONTRACT_BITS,
    INTEGER,
    NOTICES,
    REAL,
    Evaluation,
    Input,
    Op,
    Output,
    Plan,
    Shape,
    Tensor,
)
from keras_private.plan.ports import TOP, told_by

EVALUATORS = ("client", "owner")
"""Who may be told: the client that asked, or the model's owner."""
FEWEST = 20
"""Rows that an evaluation has at least, unless its owner says otherwise."""
MOST = 1 << 32
"""Rows that one may have at most."""
TARGET = "target"
_LAYER = "evaluation"
_WHATEVER = frozenset({"argmax", "top_k", "above"})  # what they make has its range whatever is proven of their input
_SQUARED_BITS = (CONTRACT_BITS - 2) // 2  # of a difference whose square stays within the contract, at its ends too


class Scoring(NamedTuple):
    """A scoring plan, and what is done with its scores.

    counts: of each row, the scores that it has. notices: numbers behind them that say, as a bit each, that the row has
        no answer; its scores are 0 then. most: rows whose total is proven to stay within the contract.
    """

    plan: Plan
    target: Input
    counts: int
    notices: int
    most: int


class Metric(NamedTuple):
    """unsuited: why a plan's output cannot be scored so; empty: it can. score: appends the ops; returns the target and
    the tensor of the scores."""

    unsuited: Callable[[Plan], str]
    score: Callable[[Tail], tuple[Input, str]]


def scoring(plan: Plan, metric: str) -> Scoring:
    """What scores an executable plan's output.

    Raises:
        PlanError: there is no such metric, or it does not suit the output; says why.
    """
    found = METRICS.get(metric)
    if found is None:
        raise PlanError(f"evaluation knows {', '.join(METRICS)}, not {metric[:40]!r}")
    if reason := _several(plan) or found.unsuited(plan):
        raise PlanError(f"evaluation by {metric}: {reason}")
    tail = Tail(plan)
    target, scores = found.score(tail)
    scores = _of_answered_rows(tail, scores)
    made = tail.tensors[scores]
    output = Output(metric, scores, REAL if made.frac else INTEGER)
    notices = tuple(told for told in plan.outputs if told.reveal in NOTICES)
    extended = replace(
        plan,
        inputs=(*plan.inputs, target),
        outputs=(output, *notices),
        tensors=tail.tensors,
        ops=tuple(tail.ops),
        takes="list",
        gives="array",
        evaluations=(),
    )
    if is_floored(plan):
        extended = floored(extended)
    counts = math.prod(made.shape)
    room = CONTRACT_BITS - (CONTRACT_BITS if made.bound is None else made.bound)
    most = min(MOST, (1 << room) // counts)
    return Scoring(extended, target, counts, len(notices), most)


def check_evaluations(plan: Plan) -> None:
    """Whether the evaluations that an executable plan allows can be done.

    Raises:
        PlanError: says which one cannot, and why.
    """
    names = [allowed.metric for allowed in plan.evaluations]
    if len(set(names)) < len(names):
        raise PlanError("a plan names each metric of its evaluations once")
    for allowed in plan.evaluations:
        if allowed.recipient not in EVALUATORS:
            raise PlanError(f"an evaluation is told to one of {', '.join(EVALUATORS)}, not {allowed.recipient[:40]!r}")
        most = scoring(plan, allowed.metric).most
        if not 1 <= allowed.fewest <= most:
            raise PlanError(
                f"evaluation by {allowed.metric}: from 1 to {most} rows can be added up, {allowed.fewest} are the "
                "fewest asked for"
            )


def _of_answered_rows(tail: Tail, scores: str) -> str:
    """The scores, and 0 for a row that has no answer because the plan has a notice for it."""
    rank = len(tail.tensors[scores].shape)
    for made in tail.plan.outputs:
        if made.reveal in NOTICES:
            notice = tail.op("reshape", made.tensor, shape=(1,) * rank)
            scores = tail.op("sub", scores, tail.op("mul", scores, notice, drop=0, relu=False))
    return scores


class Tail:
    """Appends ops to an executable plan, each with what its bound proves."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        (self.made,) = plan.results
        self.tensors: dict[str, Tensor] = dict(plan.tensors)
        self.ops: list[Op] = list(plan.ops)
        self._intervals: dict[str, Interval | None] = {}  # of what is new

    def _interval(self, name: str) -> Interval | None:
        if name in self._intervals:
            return self._intervals[name]
        tensor = self.tensors[name]
        return None if tensor.bound is None else _up_to(math.ldexp(1.0, tensor.bound - tensor.frac), tensor.shape)

    def target(self, shape: Shape, kind: str, range_: tuple[float, float], frac: int = 0) -> Input:
        """The further input."""
        name = _free(TARGET, {given.name for given in self.plan.inputs})
        given = Input(name, _free(TARGET, self.tensors.keys()), kind, range_)
        interval = bounds.of_input(given, shape, frac)
        self.tensors[given.tensor] = Tensor(shape, frac, bounds.bound(interval, frac))
        self._intervals[given.tensor] = interval
        return given

    def op(self, kind: str, *inputs: str, **attrs: Any) -> str:
        """Append one; returns its output."""
        op = Op(kind, inputs, (), _free(f"score{len(self.ops)}", self.tensors.keys()), attrs, _LAYER)
        tensor = infer(op, [self.tensors[name] for name in inputs], [], self.plan.precision)
        known = [self._interval(name) for name in inputs]
        product = bounds.propagate(op, known, [])
        if product is None and kind in _WHATEVER:
            product = bounds.propagate(op, [_up_to(1.0, self.tensors[name].shape) for name in inputs], [])
        if isinstance(kind_of(op), Product):
            bound = bounds.bound(product, tensor.frac + dropped(op)) or CONTRACT_BITS
            op = replace(op, attrs={**attrs, "bound": bound})
        self.tensors[op.output] = tensor
        interval = bounds.after_product(op, product, bounds.error(op, replace(self.plan, tensors=self.tensors)))
        self.tensors[op.output] = replace(tensor, bound=bounds.bound(interval, tensor.frac))
        self._intervals[op.output] = interval
        self.ops.append(op)
        return op.output


def _up_to(size: float, shape: Shape) -> Interval:
    return Interval(np.full((1, *shape), -size), np.full((1, *shape), size))


def _free(name: str, taken: Sequence[str] | Any) -> str:
    while name in taken:
        name = f"{name}_"
    return name


# --- what a plan's output must be


def _several(plan: Plan) -> str:
    if len(plan.results) == 1:
        return ""
    return f"the model has {len(plan.results)} outputs; share a model with the one to evaluate"


def _maker(plan: Plan) -> Op:
    """The op that makes what is told of the output."""
    (made,) = plan.results
    op = told_by(made.tensor, {op.output: op for op in plan.ops})
    if op is None:
        raise PlanError("evaluation: the output is an input as it is")
    return op


def _classes(plan: Plan) -> int:
    """How many there are, of an output that says which one."""
    return plan.tensors[_maker(plan).inputs[0]].shape[-1]


def _no_classes(plan: Plan) -> str:
    """The output holds a value for each class, the label, or the top classes."""
    (made,) = plan.results
    shape = plan.shape(made)
    if made.kind == REAL and shape and shape[-1] >= 2:
        return ""
    if made.reveal == "top5" or (made.reveal == "label" and _maker(plan).kind == "argmax"):
        return ""
    return f"it needs a value for each of several classes, along the last axis; the output has shape {shape}"


def _no_top(plan: Plan) -> str:
    (made,) = plan.results
    shape = plan.shape(made)
    if made.reveal == "top5" and shape[-1] == TOP:
        return ""
    if made.kind != REAL or not shape or not TOP < shape[-1] <= MAX_RANKED:
        told = f"; share(reveal={made.reveal!r})" if made.reveal != "values" else f"; the output has shape {shape}"
        return f"it needs values of {TOP + 1} to {MAX_RANKED} classes, along the last axis{told}"
    return ""


def _no_answers(plan: Plan) -> str:
    (made,) = plan.results
    if made.reveal == "label" and _maker(plan).kind == "to_number":
        return ""
    if made.kind != REAL or made.final_activation not in ("", "sigmoid"):
        return "it needs real numbers, or what goes into a sigmoid; of several classes use accuracy"
    return ""


def _no_numbers(plan: Plan) -> str:
    (made,) = plan.results
    if made.kind != REAL or made.final_activation:
        last = made.final_activation or "no real numbers"
        return f"the parties must compute the output to its end, and it ends in {last}; share(reveal='probabilities')"
    if plan.tensors[made.tensor].bound is None:
        return "how large the output gets is not proven; declare input_range"
    if any(made.reveal == "guard" for made in plan.outputs):
        return "rows without an answer would count as exact; share with calibration, so that nothing needs a guard"
    return ""


# --- the scores


def _right_class(tail: Tail) -> tuple[Input, str]:
    made = tail.made
    shape = tail.tensors[made.tensor].shape
    if made.reveal == "values":
        label, classes = tail.op("argmax", made.tensor, axis=len(shape) - 1), shape[-1]
    else:
        label, classes = made.tensor, _classes(tail.plan)
    if made.reveal == "top5":
        starts, stops = (0,) * len(shape), (*shape[:-1], 1)
        first = tail.op("slice", label, starts=starts, stops=stops, strides=(1,) * len(shape))
        label = tail.op("reshape", first, shape=shape[:-1])
    target = tail.target(tail.tensors[label].shape, INTEGER, (0.0, classes - 1.0))
    return target, tail.op("to_number", tail.op("equal", label, target.tensor))


def _among_the_top(tail: Tail) -> tuple[Input, str]:
    made = tail.made
    shape = tail.tensors[made.tensor].shape
    if made.reveal == "top5":
        places, classes = made.tensor, _classes(tail.plan)
    else:
        places, classes = tail.op("top_k", made.tensor, k=TOP, places=True), shape[-1]
    target = tail.target(shape[:-1], INTEGER, (0.0, classes - 1.0))
    beside = tail.op("reshape", target.tensor, shape=(*shape[:-1], 1))
    found = tail.op("to_number", tail.op("equal", places, beside))
    return target, tail.op("sum", found, axes=(len(shape) - 1,), keepdims=False)


def _right_bit(tail: Tail) -> tuple[Input, str]:
    made = tail.made
    target = tail.target(tail.tensors[made.tensor].shape, BIT, (0.0, 1.0))
    answers = tail.op("above", made.tensor, threshold=0.0 if made.final_activation == "sigmoid" else 0.5)
    wanted = tail.op("above", target.tensor, threshold=0.5)
    return target, tail.op("to_number", tail.op("not", tail.op("xor", answers, wanted)))


def _difference(tail: Tail) -> tuple[Input, str]:
    """Targets may be twice as large as the output is proven to be."""
    tensor = tail.tensors[tail.made.tensor]
    most = math.ldexp(2.0, (tensor.bound or 0) - tensor.frac)
    target = tail.target(tensor.shape, REAL, (-most, most), tensor.frac)
    return target, tail.op("sub", tail.made.tensor, target.tensor)


def _absolute(tail: Tail) -> tuple[Input, str]:
    target, difference = _difference(tail)
    return target, tail.op("abs", difference)


def _squared(tail: Tail) -> tuple[Input, str]:
    """The difference is truncated as far as its square would not fit."""
    target, difference = _difference(tail)
    drop = max(0, (tail.tensors[difference].bound or CONTRACT_BITS) - _SQUARED_BITS)
    precision = tail.plan.precision
    if 2 * drop > precision:
        raise PlanError(
            "evaluation by mean_squared_error: the output is proven to stay below "
            f"2^{(tail.tensors[tail.made.tensor].bound or CONTRACT_BITS) - precision} only, and squares of such "
            "numbers do not fit; narrow input_range, or use mean_absolute_error"
        )
    if drop:
        difference = tail.op("truncate", difference, drop=drop)
    return target, tail.op("square", difference, drop=precision - 2 * drop)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "accuracy": Metric(_no_classes, _right_class),
        "top5": Metric(_no_top, _among_the_top),
        "binary_accuracy": Metric(_no_answers, _right_bit),
        "mean_absolute_error": Metric(_no_numbers, _absolute),
        "mean_squared_error": Metric(_no_numbers, _squared),
    }
)
"""By Keras' names. What is not here is refused."""
ERRORS = ("mean_absolute_error", "mean_squared_error")
"""Those whose scores are the smaller, the better."""


def evaluations_of(wanted: Any, plan: Plan) -> tuple[Evaluation, ...]:
    """The evaluations that an owner allows, for `Plan.evaluations`.

    Args:
        wanted: None: none. A recipient: by every metric that suits the output. A dict: by metric. A recipient may be a
            pair (recipient, fewest rows).

    Raises:
        PlanError: it is none of these, names a metric or recipient that there is not, or no metric suits the output.
    """
    if wanted is None:
        return ()
    if isinstance(wanted, Mapping):
        named = {str(metric): _recipient(value) for metric, value in wanted.items()}
    else:
        named, reasons = dict.fromkeys(METRICS, _recipient(wanted)), []
        for metric, allowed in list(named.items()):
            try:
                check_evaluations(replace(plan, evaluations=(Evaluation(metric, *allowed),)))
            except PlanError as error:
                del named[metric]
                reasons.append(str(error))
        if not named:
            raise PlanError(f"no metric suits the model's output: {'; '.join(dict.fromkeys(reasons))}")
    found = tuple(Evaluation(metric, *named[metric]) for metric in sorted(named))
    check_evaluations(replace(plan, evaluations=found))
    return found


def _recipient(value: Any) -> tuple[str, int]:
    recipient, fewest = value if isinstance(value, tuple | list) and len(value) == 2 else (value, FEWEST)
    if recipient not in EVALUATORS:
        raise PlanError(
            f"evaluation= is one of {', '.join(EVALUATORS)}, such a one and the fewest rows, as in ('client', {FEWEST})"
            f", or a dict of them by metric; not {value!r}"
        )
    if isinstance(fewest, bool) or not isinstance(fewest, int | float) or not float(fewest).is_integer():
        raise PlanError(f"the fewest rows of an evaluation are a whole number from 1 on, not {fewest!r}")
    return recipient, int(fewest)
