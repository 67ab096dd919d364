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
from keras_private.plan.ops.piecewise import check_tables
from keras_private.plan.plan import (
    CHECKS,
    CONTRACT_BITS,
    IDENTIFIER,
    Evaluation,
    Input,
    Op,
    Output,
    Plan,
    Shape,
    Tensor,
    Weight,
)
from keras_private.plan.ports import MAX_PORTS, check_ports
from keras_private.plan.scoring import METRICS, MOST, check_evaluations
from keras_private.sharing.fixed import MAX_FRAC

MAGIC = "keras_private plan"
VERSION = 6
MAX_BYTES = 4 << 20
MAX_OPS = 10_000
MAX_WEIGHT_ELEMENTS = 1 << 28  # of all weights together
MAX_PRECISION = 24  # two factors and their guard bits must fit into 62

_FIELDS = (
    "format",
    "version",
    "precision",
    "takes",
    "inputs",
    "gives",
    "outputs",
    "evaluations",
    "tensors",
    "weights",
    "ops",
)


def serialise(plan: Plan) -> bytes:
    """The one encoding of an executable plan: equal plans give equal bytes.

    Raises:
        PlanError: an op's kind is unknown.
    """
    names = [*(given.tensor for given in plan.inputs), *(op.output for op in plan.ops)]
    document = {
        "format": MAGIC,
        "version": VERSION,
        "precision": plan.precision,
        "takes": plan.takes,
        "inputs": [[given.name, given.tensor, given.kind, given.range, given.limit] for given in plan.inputs],
        "gives": plan.gives,
        "outputs": [
            [made.name, made.tensor, made.kind, made.final_activation, made.reveal, made.recipient]
            for made in plan.outputs
        ],
        "evaluations": [[allowed.metric, allowed.recipient, allowed.fewest] for allowed in plan.evaluations],
        "tensors": [
            [name, tensor.shape, tensor.frac, tensor.bound, tensor.bit]
            for name, tensor in ((name, plan.tensors[name]) for name in names)
        ],
        "weights": [[name, weight.shape, weight.frac] for name, weight in sorted(plan.weights.items())],
        "ops": [
            [kind_of(op).name, op.inputs, op.weights, op.output, dict(sorted(op.attrs.items())), op.layer]
            for op in plan.ops
        ],
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
    inputs, outputs = tuple(map(_input, document["inputs"])), tuple(map(_output, document["outputs"]))
    tensors = _check_program(precision, inputs, outputs, claimed, weights, ops)
    takes, gives = _text(document["takes"], "takes"), _text(document["gives"], "gives")
    evaluations = tuple(map(_evaluation, document["evaluations"]))
    plan = Plan(precision, inputs, outputs, tensors, weights, ops, takes, gives, evaluations)
    check_ports(plan)
    check_evaluations(plan)
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
    most = {
        "inputs": MAX_PORTS,
        "outputs": MAX_PORTS,
        "evaluations": len(METRICS),
        "tensors": max_ops + MAX_PORTS,
        "weights": 2 * max_ops,
        "ops": max_ops,
    }
    for name, limit in most.items():
        if type(document[name]) is not tuple:
            raise PlanError(f"the plan's field {name!r} must be a list")
        if len(document[name]) > limit:
            raise PlanError(f"the plan has {len(document[name])} {name}; the limit is {limit}")
    return document


def _input(entry: Any) -> Input:
    name, tensor, kind, range_, limit = _record(entry, 5, "input")
    if range_ is not None and not (
        type(range_) is tuple and len(range_) == 2 and all(type(bound) is float for bound in range_)
    ):
        raise PlanError("an input_range must be two numbers or nothing")
    if limit is not None and type(limit) is not float:
        raise PlanError("an input's limit must be a number or nothing")
    return Input(_text(name, "input's name"), _name(tensor, "input"), _text(kind, "input's kind"), range_, limit)


def _output(entry: Any) -> Output:
    name, tensor, *texts = _record(entry, 6, "output")
    kind, final_activation, reveal, recipient = (
        _text(value, f"output's {what}")
        for value, what in zip(texts, ("kind", "final_activation", "reveal", "recipient"), strict=True)
    )
    return Output(_text(name, "output's name"), _name(tensor, "output"), kind, final_activation, reveal, recipient)


def _evaluation(entry: Any) -> Evaluation:
    metric, recipient, fewest = _record(entry, 3, "evaluation")
    texts = _text(metric, "evaluation's metric"), _text(recipient, "evaluation's recipient")
    return Evaluation(*texts, _int(fewest, "the fewest rows of an evaluation", 1, MOST))


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
        layer if type(layer) is str and layer in ("", *CHECKS) else _name(layer, "layer"),
    )


def _weights(entries: tuple[Any, ...], max_elements: int) -> dict[str, Weight]:
    weights: dict[str, Weight] = {}
    total = 0
    for entry in entries:
        name, shape, frac = _record(entry, 3, "weight")
        weight = Weight(_shape(shape), _int(frac, "a weight's fractional bits", 0, MAX_FRAC))
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
        proven = None if bound is None else _int(bound, "a bound in bits", 1, CONTRACT_BITS)
        if _name(name, "tensor") in tensors:
            raise PlanError(f"tensor {name!r} appears twice")
        tensors[name] = Tensor(_shape(shape), _int(frac, "fractional bits", 0, MAX_FRAC), proven, bit)
    return tensors


def _check_program(
    precision: int,
    inputs: tuple[Input, ...],
    outputs: tuple[Output, ...],
    claimed: Mapping[str, Tensor],
    weights: Mapping[str, Weight],
    ops: tuple[Op, ...],
) -> dict[str, Tensor]:
    """Infer every tensor anew and compare; every weight and op must be used."""
    if any(given.tensor not in claimed for given in inputs):
        raise PlanError("the plan does not describe its inputs")
    tensors = {given.tensor: claimed[given.tensor] for given in inputs}
    if any(tensor.bit for tensor in tensors.values()):
        raise PlanError("a plan's input must be numbers, not bits that are shared by exclusive or")
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
    check_tables(ops, tensors)
    if tensors.keys() != claimed.keys():
        raise PlanError("the plan describes tensors that no op makes")
    ends = {made.tensor for made in outputs}
    if not ends <= tensors.keys():
        raise PlanError("a plan's output must be an input or what an op makes")
    unused = (tensors.keys() | weights.keys()) - used - ends
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


def _text(value: Any, what: str) -> str:
    if type(value) is not str:
        raise PlanError(f"a plan's {what} must be a string")
    return value


def _int(value: Any, what: str, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise PlanError(f"{what} must be a whole number from {low} to {high}")
    return value


def _shape(value: Any) -> Shape:
    if type(value) is not tuple or not all(type(axis) is int for axis in value) or not shape_fits(value):
        raise PlanError(f"a shape must be a list of positive whole numbers with at most {MAX_ELEMENTS} elements")
    return value
