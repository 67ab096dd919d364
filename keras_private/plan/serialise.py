"""A plan as bytes: msgpack, versioned, hashed; and back, trusting nothing.

Theory of operation. `parse` is where a party meets an owner's data. It limits sizes before it builds anything, checks
the type of every field, refuses whatever it does not know, and infers every tensor anew from the ops: what the sender
claimed must equal what was inferred. What it returns can be executed without further checks. Only the proven bounds
(`bound`) cannot be checked without the weights; a wrong one spoils the owner's own results, never memory safety.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgpack

from keras_private.errors import PlanError
from keras_private.plan.ops import MAX_ELEMENTS, infer, kind_of, shape_fits
from keras_private.plan.plan import FINAL_ACTIVATIONS, IDENTIFIER, Op, Plan, Shape, Tensor, Weight

MAGIC = "keras_private plan"
VERSION = 5
MAX_BYTES = 4 << 20
MAX_OPS = 10_000
MAX_WEIGHT_ELEMENTS = 1 << 28  # of all weights together
MAX_BITS = 62
MAX_PRECISION = 24  # two factors and their guard bits must fit into 62

_FIELDS = (
    "format",
    "version",
    "precision",
    "input",
    "output",
    "input_range",
    "input_limit",
    "tensors",
    "weights",
    "ops",
    "final_activation",
)


def serialise(plan: Plan) -> bytes:
    """The one encoding of an executable plan: equal plans give equal bytes.

    Raises:
        PlanError: an op's kind is unknown.
    """
    names = [plan.input, *(op.output for op in plan.ops)]
    document = {
        "format": MAGIC,
        "version": VERSION,
        "precision": plan.precision,
        "input": plan.input,
        "output": plan.output,
        "input_range": plan.input_range,
        "input_limit": plan.input_limit,
        "tensors": [
            [name, tensor.shape, tensor.frac, tensor.bound, tensor.bit]
            for name, tensor in ((name, plan.tensors[name]) for name in names)
        ],
        "weights": [[name, weight.shape, weight.frac] for name, weight in sorted(plan.weights.items())],
        "ops": [
            [kind_of(op).name, op.inputs, op.weights, op.output, dict(sorted(op.attrs.items())), op.layer]
            for op in plan.ops
        ],
        "final_activation": plan.final_activation,
    }
    packed: bytes = msgpack.packb(document)
    return packed


def digest(plan: Plan) -> str:
    """SHA-256 of the plan's bytes, hex: what the three parties compare before every load."""
    return hashlib.sha256(serialise(plan)).hexdigest()


def parse(
    data: bytes,
    *,
    max_bytes: int = MAX_BYTES,
    max_ops: int = MAX_OPS,
    max_weight_elements: int = MAX_WEIGHT_ELEMENTS,
) -> Plan:
    """Read an executable plan from untrusted bytes.

    Raises:
        PlanError: with the reason, for anything but a plan that adds up and fits the limits.
    """
    document = _document(data, max_bytes, max_ops)
    precision = _int(document["precision"], "precision", 1, MAX_PRECISION)
    ops = tuple(_op(entry) for entry in document["ops"])
    weights = _weights(document["weights"], max_weight_elements)
    claimed = _tensors(document["tensors"])
    source, output = _name(document["input"], "input"), _name(document["output"], "output")
    tensors = _check_program(precision, source, output, claimed, weights, ops)
    final = _final_activation(document["final_activation"], tensors[output].shape)
    range_ = _range(document["input_range"])
    limit = _limit(document["input_limit"], range_)
    plan = Plan(precision, source, output, range_, tensors, weights, ops, final, limit)
    if serialise(plan) != bytes(data):
        raise PlanError("the plan is not in its one canonical encoding; it was altered after it was written")
    return plan


def validate(plan: Plan) -> None:
    """The checks of `parse` on a plan in memory.

    Raises:
        PlanError: the plan does not add up.
    """
    parse(serialise(plan))


def _document(data: bytes, max_bytes: int, max_ops: int) -> dict[str, Any]:
    if len(data) > max_bytes:
        raise PlanError(f"a plan of {len(data)} bytes exceeds the limit of {max_bytes}")
    try:
        document = msgpack.unpackb(data, use_list=False, strict_map_key=True, raw=False, max_ext_len=0)
    except (ValueError, TypeError, RecursionError, UnicodeDecodeError, msgpack.UnpackException) as error:
        raise PlanError(f"the plan is not valid msgpack: {type(error).__name__}") from error
    if type(document) is not dict or document.get("format") != MAGIC:
        raise PlanError("the data is not a keras_private plan")
    version = document.get("version")
    if type(version) is not int or version != VERSION:
        raise PlanError(
            f"the plan has version {str(version)[:20]}, this program reads version {VERSION}; "
            "install the same keras_private release at the owner and at all parties"
        )
    if tuple(document) != _FIELDS:
        raise PlanError("the plan's fields are not those of its version")
    for name in ("tensors", "weights", "ops"):
        if type(document[name]) is not tuple:
            raise PlanError(f"the plan's field {name!r} must be a list")
        if len(document[name]) > max_ops + 1 + (max_ops if name == "weights" else 0):
            raise PlanError(f"the plan has {len(document[name])} {name}; the limit is {max_ops} ops")
    if len(document["ops"]) > max_ops:
        raise PlanError(f"the plan has {len(document['ops'])} ops; the limit is {max_ops}")
    return document


def _op(entry: Any) -> Op:
    kind, inputs, weights, output, attrs, layer = _record(entry, 6, "op")
    if type(kind) is not str or type(inputs) is not tuple or type(weights) is not tuple or type(attrs) is not dict:
        raise PlanError("an op's kind, inputs, weights or attributes have the wrong type")
    if any(type(name) is not str for name in attrs):
        raise PlanError("an op's attribute names must be strings")
    return Op(
        kind,
        tuple(_name(name, "input") for name in inputs),
        tuple(_name(name, "weight") for name in weights),
        _name(output, "output"),
        attrs,
        "" if layer == "" else _name(layer, "layer"),
    )


def _weights(entries: tuple[Any, ...], max_elements: int) -> dict[str, Weight]:
    weights: dict[str, Weight] = {}
    total = 0
    for entry in entries:
        name, shape, frac = _record(entry, 3, "weight")
        weight = Weight(_shape(shape), _int(frac, "a weight's fractional bits", 0, MAX_BITS))
        if _name(name, "weight") in weights:
            raise PlanError(f"weight {name!r} appears twice")
        weights[name] = weight
        total += math.prod(weight.shape)
    if total > max_elements:
        raise PlanError(f"the plan's weights have {total} elements together; the limit is {max_elements}")
    return weights


def _tensors(entries: tuple[Any, ...]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for entry in entries:
        name, shape, frac, bound, bit = _record(entry, 5, "tensor")
        if type(bit) is not bool:
            raise PlanError("whether a tensor is bits must be true or false")
        proven = None if bound is None else _int(bound, "a bound in bits", 1, MAX_BITS)
        if _name(name, "tensor") in tensors:
            raise PlanError(f"tensor {name!r} appears twice")
        tensors[name] = Tensor(_shape(shape), _int(frac, "fractional bits", 0, MAX_BITS), proven, bit)
    return tensors


def _check_program(
    precision: int,
    source: str,
    output: str,
    claimed: Mapping[str, Tensor],
    weights: Mapping[str, Weight],
    ops: tuple[Op, ...],
) -> dict[str, Tensor]:
    """Infer every tensor anew and compare; every weight and op must be used."""
    if source not in claimed:
        raise PlanError("the plan does not describe its input")
    if claimed[source].bit:
        raise PlanError("the plan's input must be numbers, not bits")
    tensors = {source: claimed[source]}
    used: set[str] = set()
    for op in ops:
        if op.output in tensors:
            raise PlanError(f"tensor {op.output!r} is assigned twice")
        for name, known in [(name, tensors) for name in op.inputs] + [(name, weights) for name in op.weights]:
            if name not in known:
                raise PlanError(f"{op.kind[:40]} uses {name!r}, which does not exist at that point")
        inferred = infer(op, [tensors[name] for name in op.inputs], [weights[name] for name in op.weights], precision)
        stated = claimed.get(op.output)
        if stated is None or replace(stated, bound=None) != inferred:
            raise PlanError(f"tensor {op.output!r} is not what its op makes: its shape, kind or fractional bits differ")
        tensors[op.output] = stated
        used |= {*op.inputs, *op.weights}
    if tensors.keys() != claimed.keys():
        raise PlanError("the plan describes tensors that no op makes")
    if output not in tensors or tensors[output].frac != precision or tensors[output].bit:
        raise PlanError(f"the plan's output must be a tensor of numbers with {precision} fractional bits")
    unused = (tensors.keys() | weights.keys()) - used - {output, source}
    if unused:
        raise PlanError(f"{len(unused)} tensors or weights of the plan are never used, {min(unused)!r} among them")
    return tensors


def _record(entry: Any, count: int, what: str) -> tuple[Any, ...]:
    if type(entry) is not tuple or len(entry) != count:
        raise PlanError(f"each {what} of a plan must be a list of {count} fields")
    return entry


def _name(value: Any, what: str) -> str:
    if type(value) is not str or not IDENTIFIER.fullmatch(value):
        raise PlanError(f"the name of a plan's {what} must be a short identifier")
    return value


def _int(value: Any, what: str, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise PlanError(f"{what} must be a whole number from {low} to {high}")
    return value


def _shape(value: Any) -> Shape:
    if type(value) is not tuple or not all(type(axis) is int for axis in value) or not shape_fits(value):
        raise PlanError(f"a shape must be a list of positive whole numbers with at most {MAX_ELEMENTS} elements")
    return value


def _final_activation(value: Any, output: Shape) -> str:
    if type(value) is not str or value not in FINAL_ACTIVATIONS:
        raise PlanError(f"final_activation must be one of {', '.join(map(repr, FINAL_ACTIVATIONS))}")
    if value == "softmax" and not output:
        raise PlanError("final_activation 'softmax' needs an output with an axis besides the batch")
    return value


def _limit(value: Any, declared: tuple[float, float] | None) -> float | None:
    if value is None:
        return None
    if type(value) is not float or declared is not None or not 0 < value < math.inf or math.frexp(value)[0] != 0.5:
        raise PlanError("input_limit must be a power of two in a plan without input_range, or nothing")
    return value


def _range(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    if type(value) is not tuple or len(value) != 2 or not all(type(bound) is float for bound in value):
        raise PlanError("input_range must be two numbers or nothing")
    low, high = value
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise PlanError("input_range must be two finite numbers in order")
    return low, high
