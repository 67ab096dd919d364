"""Reading plans back: all of a good one, nothing of a bad one."""

import copy
import functools
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_private.errors import PlanError
from keras_private.plan.builder import PlanBuilder
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import FINAL_ACTIVATIONS, Plan
from keras_private.plan.serialise import MAX_OPS, digest, parse, serialise, validate
from tests.plans import the_output, with_output

from . import models

heavy = settings(derandomize=True, deadline=None, max_examples=400)
names = sorted(models.ALL)


@functools.cache
def plan(name: str) -> Plan:
    return optimise(models.ALL[name]()).plan


@functools.cache
def data(name: str) -> bytes:
    return serialise(plan(name))


@pytest.mark.parametrize("name", names)
def test_reads_back_what_was_written(name: str) -> None:
    back = parse(data(name))
    assert back == plan(name)
    assert serialise(back) == data(name)
    assert digest(back) == digest(plan(name))
    assert len(digest(back)) == 64


def test_different_plans_have_different_hashes() -> None:
    assert len({digest(plan(name)) for name in names}) == len(names)


@pytest.mark.parametrize("final", FINAL_ACTIVATIONS)
def test_the_final_activation_is_part_of_plan_and_hash(final: str) -> None:
    draft = models.ALL["mnist"]()
    told = optimise(with_output(draft, final_activation=final)).plan
    assert the_output(told).final_activation == final
    assert parse(serialise(told)) == told
    assert (digest(told) == digest(plan("mnist"))) == (final == "")


def test_softmax_needs_an_axis() -> None:
    builder = PlanBuilder((2,))
    alone = builder.op("sum_pool2d", builder.op("reshape", builder.input, shape=(2, 1, 1)), pool=(2, 1), strides=(1, 1))
    out = builder.op("reshape", alone, shape=())
    parse(serialise(optimise(builder.finish(out, "sigmoid")).plan))
    with pytest.raises(PlanError, match="needs an axis"):
        builder.finish(out, "softmax")


def refused_or_valid(raw: bytes) -> None:
    try:
        read = parse(raw)
    except PlanError:
        return
    validate(read)
    assert serialise(read) == raw


@heavy
@given(st.sampled_from(names), st.integers(0, 10_000), st.binary(min_size=0, max_size=3), st.integers(0, 3))
def test_bytes_changed_anywhere(name: str, at: int, new: bytes, removed: int) -> None:
    raw = data(name)
    at %= len(raw) + 1
    refused_or_valid(raw[:at] + new + raw[at + removed :])


@heavy
@given(st.sampled_from(names), st.integers(0, 10_000))
def test_truncated(name: str, at: int) -> None:
    raw = data(name)
    with pytest.raises(PlanError):
        parse(raw[: at % len(raw)])


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.binary(max_size=200))
def test_random_bytes(raw: bytes) -> None:
    with pytest.raises(PlanError):
        parse(raw)


def spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values within a document."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += spots(item, (*path, key))
    return found


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 70),
    st.sampled_from([2**63, -(2**63), 2**31, 62, 10**9]),
    st.floats(),
    st.text(max_size=4),
    st.binary(max_size=4),
    st.sampled_from(["t0", "t1", "input", "relu", "matmul", "conv2d", "truncate", "scale_int", "NHWC", ""]),
    st.lists(st.integers(-1, 9), max_size=4),
    st.dictionaries(st.sampled_from(["bound", "drop", "relu", "x"]), st.integers(-1, 70), max_size=3),
    st.just([[[[[[]]]]]]),
)


@heavy
@given(st.sampled_from(names), st.integers(0, 10_000), anything, st.sampled_from(["set", "delete", "repeat"]))
def test_well_formed_but_altered(name: str, where: int, value: Any, how: str) -> None:
    document = msgpack.unpackb(data(name))
    paths = spots(document)
    *parents, key = paths[where % len(paths)]
    holder = document
    for step in parents:
        holder = holder[step]
    if how == "set":
        holder[key] = value
    elif how == "delete":
        del holder[key]
    elif isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    refused_or_valid(msgpack.packb(document))


def altered(change: Any) -> bytes:
    document = msgpack.unpackb(data("mnist"))
    change(document)
    packed: bytes = msgpack.packb(document)
    return packed


def port(document: Any, which: str, field: int, value: Any) -> None:
    document[which][0][field] = value


def attr(document: Any, op: int, name: str, value: Any) -> None:
    document["ops"][op][4][name] = value


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d.update(version=1), "version 1, this program reads version 6"),
        (lambda d: d.update(format="other"), "not a keras_private plan"),
        (lambda d: d.update(extra=1), "fields"),
        (lambda d: d.pop("inputs"), "fields"),
        (lambda d: d.update(precision=0), "precision"),
        (lambda d: d.update(precision=True), "precision"),
        (lambda d: port(d, "inputs", 3, [1.0, 0.0]), "input 'input': input_range"),
        (lambda d: port(d, "inputs", 3, [float("nan"), 1.0]), "input_range"),
        (lambda d: port(d, "inputs", 3, [0, 1]), "input_range"),
        (lambda d: port(d, "inputs", 3, [0.0]), "input_range"),
        (lambda d: port(d, "inputs", 4, 4.0), "limit"),
        (lambda d: port(d, "inputs", 4, 4), "limit"),
        (lambda d: port(d, "inputs", 0, ""), "printable"),
        (lambda d: port(d, "inputs", 0, "a\nb"), "printable"),
        (lambda d: port(d, "inputs", 0, "x" * 129), "printable"),
        (lambda d: port(d, "inputs", 0, b"input"), "string"),
        (lambda d: port(d, "inputs", 1, "t0"), "assigned twice"),
        (lambda d: port(d, "inputs", 1, "t99"), "does not describe"),
        (lambda d: port(d, "inputs", 2, "complex"), "kind must be one of"),
        (lambda d: port(d, "inputs", 2, "integer"), "no fractional bits"),
        (lambda d: port(d, "inputs", 2, 1), "string"),
        (lambda d: d["inputs"][0].pop(), "list of 5 fields"),
        (lambda d: d["inputs"].clear(), "does not exist"),
        (lambda d: d["inputs"].append(d["inputs"][0]), "form"),
        (lambda d: d.update(inputs=d["inputs"] * 2, takes="list"), "two inputs have the name"),
        (lambda d: d.update(inputs=[d["inputs"][0], ["b", *d["inputs"][0][1:]]], takes="list"), "the same tensor"),
        (lambda d: d.update(inputs=d["inputs"] * 300), "limit"),
        (lambda d: d.update(takes="tree"), "form"),
        (lambda d: d.update(gives=["list"]), "string"),
        (lambda d: d.update(outputs=d["outputs"] * 2, gives="dict"), "two outputs have the name"),
        (lambda d: d["outputs"].clear(), "never used"),
        (lambda d: port(d, "outputs", 1, "t1"), "never used"),
        (lambda d: port(d, "outputs", 1, "t99"), "output"),
        (lambda d: port(d, "outputs", 2, "bit"), "no fractional bits"),
        (lambda d: port(d, "outputs", 3, "tanh"), "final_activation"),
        (lambda d: port(d, "outputs", 3, None), "string"),
        (lambda d: port(d, "outputs", 4, "top7"), "reveal must be one of values, label"),
        (lambda d: port(d, "outputs", 4, "label"), "what the plan makes is something else"),
        (lambda d: port(d, "outputs", 5, "everybody"), "recipient must be one of client"),
        (lambda d: d["outputs"][0].pop(), "list of 6 fields"),
        (lambda d: d.update(ops=d["ops"] * (MAX_OPS // 2)), "limit"),
        (lambda d: d["ops"][1].__setitem__(0, "pickle"), "unknown op kind"),
        (lambda d: d["ops"][1].__setitem__(0, "scale"), "does not belong"),
        (lambda d: d["ops"][1].__setitem__(1, ["t3"]), "does not exist"),
        (lambda d: d["ops"][1].__setitem__(2, ["nothing"]), "does not exist"),
        (lambda d: d["ops"][1].__setitem__(5, "a b\n"), "short identifier"),
        (lambda d: d["ops"][1].__setitem__(5, "x" * 65), "short identifier"),
        (lambda d: d["ops"].pop(0), "does not exist"),
        (lambda d: d["ops"].pop(), "no op makes"),
        (lambda d: attr(d, 1, "drop", 99), "drop is malformed"),
        (lambda d: attr(d, 1, "drop", 3), "fractional bits differ|needs"),
        (lambda d: attr(d, 1, "relu", 1), "relu is malformed"),
        (lambda d: attr(d, 1, "bound", 63), "bound is malformed"),
        (lambda d: attr(d, 1, "surprise", 1), "surprise"),
        (lambda d: d["ops"][1][4].pop("strides"), "strides"),
        (lambda d: attr(d, 1, "strides", [2, 0]), "strides is malformed"),
        (lambda d: attr(d, 1, "pads", [9, 0, 0, 0]), "differ"),
        (lambda d: attr(d, 1, "pads", [1 << 27, 0, 0, 0]), "too large"),
        (lambda d: d["tensors"][1].__setitem__(1, [1, 2, 3]), "differ"),
        (lambda d: d["tensors"][1].__setitem__(1, [1 << 20, 1 << 20]), "shape"),
        (lambda d: d["tensors"][1].__setitem__(3, 0), "bound in bits"),
        (lambda d: d["tensors"][1].__setitem__(3, 63), "bound in bits"),
        (lambda d: d["tensors"][0].__setitem__(4, True), "input must be numbers"),
        (lambda d: d["tensors"][1].__setitem__(4, True), "kind or fractional bits differ"),
        (lambda d: d["tensors"][1].__setitem__(4, 0), "true or false"),
        (lambda d: d["tensors"].append(["t77", [1], 16, None, False]), "no op makes"),
        (lambda d: d["tensors"].append(d["tensors"][0]), "twice"),
        (lambda d: d["weights"].append(["w", [1], 16]), "never used"),
        (lambda d: d["weights"].append(["w", [1 << 28], 16]), "elements together"),
        (lambda d: d["weights"].reverse(), "canonical"),
    ],
)
def test_refusals_give_the_reason(change: Any, reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        parse(altered(change))


def test_limits() -> None:
    raw = data("mnist")
    with pytest.raises(PlanError, match="bytes exceeds"):
        parse(raw, max_bytes=100)
    with pytest.raises(PlanError, match="limit is 3"):
        parse(raw, max_ops=3)
    with pytest.raises(PlanError, match="elements together"):
        parse(raw, max_weight_elements=10)


@pytest.mark.parametrize(
    "bomb",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc9\x7f\xff\xff\xff\x01",
        b"\x91" * 4000,
    ],
    ids=["list", "map", "string", "extension", "nesting"],
)
def test_claimed_sizes_are_not_believed(bomb: bytes) -> None:
    with pytest.raises(PlanError):
        parse(bomb)


def test_a_recorded_plan_is_not_for_the_parties() -> None:
    with pytest.raises(PlanError):
        parse(serialise(models.mnist().plan))
