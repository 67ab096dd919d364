"""What a plan's inputs and outputs may be: names, kinds, ranges, and what is told of an output and to whom.

The builder of a plan and the parser of a stranger's (`builder.py`, `serialise.py`) both ask here. Tables say what
exists, and what is not in them is refused: a policy that this release does not know must never pass for whole values.

What an output's `reveal` promises, the op that makes it has to keep. "label" stands in the plan, and so in its hash,
only if the parties compute the label: it is no name that can be put on whole values.

Outputs with one of the reveals NOTICES are not of the model: each is a bit a row about the query, for the client
library (`client/answer.py`), and no part of the form in which the model gives its results.

A plan that withholds answers makes each output as `select` of a bit, the value, and zeros (`enforce.py`): what is told
is then the value's, if anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from keras_private.errors import PlanError
from keras_private.plan.plan import BIT, FINAL_ACTIVATIONS, INTEGER, NOTICES, REAL, Input, Op, Output, Plan, Tensor

PORT_KINDS = (REAL, INTEGER, BIT)
FORMS = ("array", "list", "tuple", "dict")
RECIPIENTS = ("client",)  # "client": the one that asked
MAX_PORTS = 256  # inputs, and outputs
MAX_NAME = 128  # characters
MAX_OUTPUT_FRAC = 48
MAX_VALUES = 1 << 28  # of all inputs of a row together, and of all outputs
BIT_RANGE = (0.0, 1.0)
WHOLE = 2.0**53  # float64 tells all whole numbers below from their neighbours
TOP = 5


class Reveal(NamedTuple):
    """What is told of an output, and the tensors that are it.

    kinds: of its numbers. made: whether the op that makes a tensor (None: it is an input) makes such a one.
    """

    kinds: Sequence[str]
    made: Callable[[Op | None, Tensor], bool]
    words: str


def _is_label(op: Op | None, made: Tensor) -> bool:
    if op is None:
        return False
    return op.kind == "to_number" or (op.kind == "argmax" and op.attrs.get("axis") == len(made.shape))


def _is_top(op: Op | None, made: Tensor) -> bool:
    return op is not None and op.kind == "top_k" and bool(op.attrs.get("places")) and made.shape[-1] <= TOP


def _is_notice(op: Op | None, made: Tensor) -> bool:
    return op is not None and op.kind == "to_number" and not made.shape


REVEALS: Mapping[str, Reveal] = MappingProxyType(
    {
        "values": Reveal(PORT_KINDS, lambda _op, _made: True, "all of the values"),
        "label": Reveal(
            (INTEGER, BIT),
            _is_label,
            "where the largest value is along the last axis, of kind integer, or whether a value is positive, of kind "
            "bit: what an argmax or a to_number op makes",
        ),
        "top5": Reveal(
            (INTEGER,),
            _is_top,
            f"where the {TOP} largest values are along the last axis: what a top_k op makes, of kind integer",
        ),
        "guard": Reveal((BIT,), _is_notice, "a bit for each row: whether a value left its range"),
        "range": Reveal((BIT,), _is_notice, "a bit for each row: whether an input is out of range"),
    }
)


def check_ports(plan: Plan) -> None:
    """Whether the plan's inputs and outputs are well formed and fit its tensors and ops.

    Raises:
        PlanError: names the input or output, and says what it may be.
    """
    check_described(plan)
    if len({given.tensor for given in plan.inputs}) < len(plan.inputs):
        raise PlanError("two inputs are the same tensor")
    made_by = {op.output: op for op in plan.ops}
    for made in plan.outputs:
        told, tensor = REVEALS[made.reveal], plan.tensors[made.tensor]
        if not told.made(told_by(made.tensor, made_by), tensor):
            raise PlanError(_not_told(made, told))


def check_described(plan: Plan) -> None:
    """What of that asks for no op: all that clients can tell by a description.

    Raises:
        PlanError: as `check_ports`.
    """
    notices = [made.reveal for made in plan.outputs if made.reveal in NOTICES]
    if len(set(notices)) < len(notices) or len(plan.outputs) > MAX_PORTS:
        raise PlanError(f"a plan has {MAX_PORTS} outputs at most, and gives each notice about a query once")
    _check_names("outputs", [made.name for made in plan.outputs])
    for what, form, ports in (("inputs", plan.takes, plan.inputs), ("outputs", plan.gives, plan.results)):
        if not 1 <= len(ports) <= MAX_PORTS:
            raise PlanError(f"a plan has from 1 to {MAX_PORTS} {what}, not {len(ports)}")
        if form not in FORMS or (form == "array" and len(ports) > 1):
            raise PlanError(f"the form of {len(ports)} {what} must be one of {', '.join(FORMS)}; an array is one alone")
        _check_names(what, [port.name for port in ports])
        if sum(math.prod(plan.shape(port)) for port in ports) > MAX_VALUES:
            raise PlanError(f"the {what} have more than {MAX_VALUES} elements a row together")
    for given in plan.inputs:
        _check_input(given, plan.tensors[given.tensor], plan.precision)
    for made in plan.outputs:
        _check_output(made, plan.tensors[made.tensor], plan.precision)


def check_name(name: str) -> None:
    """Whether an input or output may have this name: any text of Keras' that can be shown in a line.

    Raises:
        PlanError: it may not.
    """
    if not (1 <= len(name) <= MAX_NAME and name.isprintable()):
        raise PlanError(
            f"an input or output cannot have the name {name[:40]!a}: names have 1 to {MAX_NAME} printable characters"
        )


def said_range(given: Input) -> str:
    """The range in words, for a table or a message."""
    if given.kind == BIT:
        return "0 or 1"
    if given.range is None:
        return "any range"
    whole = "whole numbers " if given.kind == INTEGER else "range "
    return f"{whole}{given.range[0]:g} to {given.range[1]:g}"


def told_by(tensor: str, made_by: Mapping[str, Op]) -> Op | None:
    """The op that makes a tensor or, of one that is selected or else replaced by zeros, what is selected."""
    op = made_by.get(tensor)
    if op is None or op.kind != "select":
        return op
    zeros = made_by.get(op.inputs[2])
    if zeros is None or zeros.kind != "scale_int" or zeros.attrs.get("multiplier") != 0:
        return op
    return made_by.get(op.inputs[1])


def _check_names(what: str, names: Sequence[str]) -> None:
    for name in names:
        check_name(name)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise PlanError(f"two {what} have the name {twice!r}; give each its own")


def _check_input(given: Input, tensor: Tensor, precision: int) -> None:
    where = f"input {given.name!r}"
    _check_kind(where, given.kind, tensor, precision)
    if given.range is not None:
        _check_range(where, given.kind, given.range)
    elif given.kind != REAL:
        raise PlanError(f"{where}: it holds {given.kind}s, and input_range must say from which to which")
    if given.limit is None:
        return
    ranged = given.range is not None or not precision
    if ranged or not 0 < given.limit < math.inf or math.frexp(given.limit)[0] != 0.5:
        raise PlanError(f"{where}: its limit must be a power of two in an executable plan, and without an input_range")


def _check_range(where: str, kind: str, range_: tuple[float, float]) -> None:
    low, high = range_
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise PlanError(f"{where}: input_range must be two finite numbers in order, not ({low}, {high})")
    if kind == BIT and range_ != BIT_RANGE:
        raise PlanError(f"{where}: input_range of a bit is (0, 1), not ({low}, {high})")
    if kind == INTEGER and not (low.is_integer() and high.is_integer() and max(-low, high) < WHOLE):
        raise PlanError(f"{where}: input_range of an integer is two whole numbers below 2^53, not ({low}, {high})")


def _not_told(made: Output, told: Reveal) -> str:
    return f"output {made.name!r}: {made.reveal!r} reveals {told.words}; what the plan makes is something else"


def _check_output(made: Output, tensor: Tensor, precision: int) -> None:
    where = f"output {made.name!r}"
    _check_kind(where, made.kind, tensor, precision)
    if precision and made.kind == REAL and not precision <= tensor.frac <= MAX_OUTPUT_FRAC:
        raise PlanError(f"{where} must have {precision} to {MAX_OUTPUT_FRAC} fractional bits, not {tensor.frac}")
    if made.recipient not in RECIPIENTS:
        raise PlanError(f"{where}: its recipient must be one of {', '.join(RECIPIENTS)}")
    told = REVEALS.get(made.reveal)
    if told is None:
        raise PlanError(f"{where}: reveal must be one of {', '.join(REVEALS)}")
    if made.kind not in told.kinds:
        raise PlanError(_not_told(made, told))
    if made.final_activation not in FINAL_ACTIVATIONS:
        known = ", ".join(map(repr, FINAL_ACTIVATIONS))
        raise PlanError(f"{where}: final_activation must be one of {known}")
    if made.final_activation and made.kind != REAL:
        raise PlanError(f"{where}: final_activation {made.final_activation!r} is for real numbers, not {made.kind}s")
    if made.final_activation == "softmax" and not tensor.shape:
        raise PlanError(f"{where}: final_activation 'softmax' needs an axis besides the batch")


def _check_kind(where: str, kind: str, tensor: Tensor, precision: int) -> None:
    if kind not in PORT_KINDS:
        raise PlanError(f"{where}: its kind must be one of {', '.join(PORT_KINDS)}")
    if tensor.bit:
        raise PlanError(f"{where}: it must be numbers, not bits that are shared by exclusive or")
    if precision and kind != REAL and tensor.frac:
        raise PlanError(f"{where}: a{'n' if kind == INTEGER else ''} {kind} has no fractional bits, not {tensor.frac}")
