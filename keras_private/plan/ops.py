"""The op kinds: which inputs, weights and attributes each takes, and the shape and fractional bits of its output.

One table for both forms of a plan. `infer` is the only place that knows the rules: the builder, the passes and the
parser all call it, so a plan that a party accepts adds up in the same sense as the one the owner wrote.

Weight layouts: matmul (K, N); conv2d (kh, kw, Cin, Cout); depthwise_conv2d (kh, kw, C, M) with output channel c·M + m.
`pads` are (top, bottom, left, right) zeros. gather takes the public `indices` of one axis, in that order, repeats
allowed: cropping, slicing, repeating.

No op of an executable plan may let rows of a batch meet, since they may be different clients'. Shapes leave the batch
axis out, so each rule has to keep to the axes behind it: inputs of one op have equal ranks, and a weight or constant
never has more axes than the input.
"""

# ruff: noqa: ARG001 - every shape rule has the same signature
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from keras_private.errors import PlanError
from keras_private.plan import attributes as at
from keras_private.plan.plan import Op, Shape, Tensor, Weight

MAX_ELEMENTS = 1 << 28  # of one tensor or weight
MAX_PLACES = 1 << 18  # of a maximum's window
MAX_FRAC = 62
CONTRACT_BITS = 62  # every value before its truncation is smaller than 2^62 in magnitude
LINEAR = frozenset({"matmul", "conv2d", "depthwise_conv2d"})
PRODUCTS = LINEAR | {"mul"}
# `bits` of a secret product: proven |raw| < 2^bits before its truncation; without it only the contract holds.
OPTIONAL = frozenset({"bits"})

ShapeRule = Callable[[Op, Sequence[Shape], Sequence[Shape]], Shape]


@dataclass(frozen=True, slots=True)
class Spec:
    """What an op kind takes. `recorded` and `executable` are the extra attributes of that form; None: not in it."""

    shape: ShapeRule
    inputs: tuple[int, int] = (1, 1)
    weights: tuple[int, int] = (0, 0)
    attrs: Mapping[str, at.Check] = field(default_factory=dict)
    recorded: Mapping[str, at.Check] | None = field(default_factory=dict)
    executable: Mapping[str, at.Check] | None = field(default_factory=dict)


def infer(op: Op, inputs: Sequence[Tensor], weights: Sequence[Weight], precision: int) -> Tensor:
    """The tensor that `op` makes of these inputs and weights (no bound).

    Args:
        precision: fractional bits of an executable plan; 0 for a recorded one.

    Raises:
        PlanError: unknown kind, wrong arity or attributes, shapes or fractional bits that do not add up.
    """
    where = describe(op)
    spec = SPECS.get(op.kind)
    if spec is None:
        raise PlanError(f"unknown op kind {op.kind[:40]!r}")
    extra = spec.executable if precision else spec.recorded
    if extra is None:
        raise PlanError(f"{where} does not belong in {'an executable' if precision else 'a recorded'} plan")
    for what, given, (low, high) in (("inputs", inputs, spec.inputs), ("weights", weights, spec.weights)):
        if not low <= len(given) <= high:
            raise PlanError(f"{where} takes {low} to {high} {what}, not {len(given)}")
    at.check_attributes(where, op.attrs, {**spec.attrs, **extra}, OPTIONAL if op.kind in PRODUCTS else frozenset())
    if precision and len({len(tensor.shape) for tensor in inputs}) > 1:
        # Parties compute on (batch, *shape): broadcasting would lay one tensor's batch axis over an axis of the other.
        raise PlanError(f"{where}: inputs need as many axes as each other, not {[tensor.shape for tensor in inputs]}")
    shape = spec.shape(op, [tensor.shape for tensor in inputs], [weight.shape for weight in weights])
    if not shape_fits(shape):
        raise PlanError(
            f"{where} would make a tensor of shape {shape}; every axis must be 1 or more, 2^28 elements at most"
        )
    frac = _frac(where, op, inputs, weights) if precision else 0
    if not 0 <= frac <= MAX_FRAC:
        raise PlanError(f"{where} would make a value with {frac} fractional bits; 0 to {MAX_FRAC} are possible")
    return Tensor(shape, frac)


def describe(op: Op) -> str:
    return f"layer {op.layer!r}: {op.kind[:40]}" if op.layer else op.kind[:40]


def shape_fits(shape: Shape) -> bool:
    return len(shape) <= at.MAX_RANK and all(axis >= 1 for axis in shape) and math.prod(shape) <= MAX_ELEMENTS


def window_count(size: int, kernel: int, stride: int, before: int, after: int, dilation: int = 1) -> int:
    """How many windows fit along one axis; 0 or less if none does."""
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


def _frac(where: str, op: Op, inputs: Sequence[Tensor], weights: Sequence[Weight]) -> int:
    """Fractional bits of the output in an executable plan."""
    frac = inputs[0].frac
    if any(tensor.frac != frac for tensor in inputs):
        raise PlanError(f"{where}: inputs with {[tensor.frac for tensor in inputs]} fractional bits cannot meet")
    if op.kind in PRODUCTS:
        frac += weights[0].frac
        if len(weights) == 2 and weights[1].frac != frac:
            raise PlanError(f"{where}: the bias needs {frac} fractional bits, not {weights[1].frac}")
    elif any(weight.frac != frac for weight in weights):
        raise PlanError(f"{where}: the weight needs {frac} fractional bits, not {weights[0].frac}")
    if op.kind == "scale_int":
        return frac + int(op.attrs["bits"])
    if op.kind == "truncate":
        return frac - int(op.attrs["bits"])
    return frac - int(op.attrs.get("truncate", 0))


# --- shape rules


def _same(op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
    return xs[0]


def _broadcast(op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
    """add, sub: two tensors (of equal rank in an executable plan, see `infer`), or a tensor and a weight that does not
    enlarge it."""
    if len(xs) + len(ws) != 2:
        raise PlanError(f"{describe(op)} takes two inputs, or one input and one weight")
    try:
        shape = tuple(np.broadcast_shapes(xs[0], (*xs[1:], *ws)[0]))
    except ValueError as error:
        raise PlanError(f"{describe(op)}: shapes {xs[0]} and {(*xs[1:], *ws)[0]} do not broadcast") from error
    if ws and shape != xs[0]:
        raise PlanError(f"{describe(op)}: a weight of shape {ws[0]} does not fit an input of shape {xs[0]}")
    return shape


def _elementwise(op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
    """mul, scale, scale_int: a weight or constant that broadcasts to the input's shape."""
    name = "multiplier" if op.kind == "scale_int" else "factor"
    other = ws[0] if ws else at.constant_shape(op.attrs[name])
    try:
        if tuple(np.broadcast_shapes(xs[0], other)) == xs[0]:
            return xs[0]
    except ValueError:
        pass
    raise PlanError(f"{describe(op)}: a factor of shape {other} does not fit an input of shape {xs[0]}")


def _matmul(op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
    if not xs[0] or len(ws[0]) != 2 or xs[0][-1] != ws[0][0]:
        raise PlanError(f"{describe(op)}: an input of shape {xs[0]} does not fit a weight of shape {ws[0]}")
    _check_bias(op, ws, ws[0][1])
    return (*xs[0][:-1], ws[0][1])


def _conv(op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
    depthwise = op.kind == "depthwise_conv2d"
    height, width, channels = _hwc(op, xs[0])
    if len(ws[0]) != 4 or ws[0][2] != channels:
        raise PlanError(f"{describe(op)}: a kernel of shape {ws[0]} does not fit an input of shape {xs[0]}")
    filters = ws[0][2] * ws[0][3] if depthwise else ws[0][3]
    _check_bias(op, ws, filters)
    return _windows(op, height, width, filters, (ws[0][0], ws[0][1]), op.attrs["dilation"], xs[0])


def _pool(op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
    height, width, channels = _hwc(op, xs[0])
    pool, pads = op.attrs["pool"], op.attrs["pads"]
    if op.kind == "max_pool2d" and (max(pads[:2]) >= pool[0] or max(pads[2:]) >= pool[1]):
        raise PlanError(f"{describe(op)}: padding {pads} must be smaller than the pool {pool}")
    shape = _windows(op, height, width, channels, pool, (1, 1), xs[0])
    if op.kind == "max_pool2d" and math.prod(pool) > MAX_PLACES:  # parties lay out a copy of the output for each place
        raise PlanError(f"{describe(op)}: a pool of {pool} has more than {MAX_PLACES} places")
    if math.prod(pool) * math.prod(shape) > MAX_ELEMENTS:
        raise PlanError(f"{describe(op)}: all windows of {pool} together hold more than {MAX_ELEMENTS} values")
    return shape


def _reshape(op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
    shape: Shape = op.attrs["shape"]
    if math.prod(shape) != math.prod(xs[0]):
        raise PlanError(f"{describe(op)}: {xs[0]} cannot be reshaped to {shape}")
    return shape


def _transpose(op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
    perm = op.attrs["perm"]
    if len(perm) != len(xs[0]):
        raise PlanError(f"{describe(op)}: perm {perm} does not fit an input of shape {xs[0]}")
    return tuple(xs[0][axis] for axis in perm)


def _pad(op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
    paddings = op.attrs["paddings"]
    if len(paddings) != len(xs[0]):
        raise PlanError(f"{describe(op)}: {len(paddings)} paddings do not fit an input of shape {xs[0]}")
    return tuple(axis + before + after for axis, (before, after) in zip(xs[0], paddings, strict=True))


def _concat(op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
    axis: int = op.attrs["axis"]
    rest = (*xs[0][:axis], *xs[0][axis + 1 :])
    if axis >= len(xs[0]) or any(len(x) != len(xs[0]) or (*x[:axis], *x[axis + 1 :]) != rest for x in xs):
        raise PlanError(f"{describe(op)}: shapes {list(xs)[:6]} cannot be joined along axis {axis}")
    return (*xs[0][:axis], sum(x[axis] for x in xs), *xs[0][axis + 1 :])


def _gather(op: Op, xs: Sequence[Shape], ws: Sequence[Shape]) -> Shape:
    axis, indices = op.attrs["axis"], op.attrs["indices"]
    if axis >= len(xs[0]) or max(indices) >= xs[0][axis]:
        raise PlanError(f"{describe(op)}: axis {axis} of an input of shape {xs[0]} has no place {max(indices)}")
    return (*xs[0][:axis], len(indices), *xs[0][axis + 1 :])


def _hwc(op: Op, shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise PlanError(f"{describe(op)} takes an input of three axes, not {shape}")
    if op.attrs.get("data_format") == "NCHW":
        return shape[1], shape[2], shape[0]
    return shape[0], shape[1], shape[2]


def _windows(
    op: Op, height: int, width: int, filters: int, kernel: tuple[int, int], dilation: tuple[int, int], given: Shape
) -> Shape:
    strides, (top, bottom, left, right) = op.attrs["strides"], op.attrs["pads"]
    rows = window_count(height, kernel[0], strides[0], top, bottom, dilation[0])
    columns = window_count(width, kernel[1], strides[1], left, right, dilation[1])
    if not shape_fits((height + top + bottom, width + left + right, math.prod(given) // (height * width))):
        raise PlanError(f"{describe(op)}: padding {op.attrs['pads']} makes the input too large")
    if rows < 1 or columns < 1:
        raise PlanError(
            f"{describe(op)}: a window of {kernel} (dilation {dilation}) is larger than an input of {given}"
        )
    return (filters, rows, columns) if op.attrs.get("data_format") == "NCHW" else (rows, columns, filters)


def _check_bias(op: Op, ws: Sequence[Shape], filters: int) -> None:
    if len(ws) == 2 and ws[1] != (filters,):
        raise PlanError(f"{describe(op)}: a bias of shape {ws[1]} does not fit {filters} outputs")


_PAIR = at.integers(2, 1)
_PADS = at.integers(4, 0)
_SHIFT = at.integer(0, at.MAX_SHIFT)
_DROP = at.integer(0, at.MAX_TRUNCATION)
_LAYOUT: dict[str, at.Check] = {"data_format": at.data_format}
_PRODUCT: dict[str, at.Check] = {"truncate": _DROP, "bits": at.integer(1, at.MAX_SHIFT)}
_FUSED: dict[str, at.Check] = {**_PRODUCT, "relu": at.boolean}
_CONV: dict[str, at.Check] = {"strides": _PAIR, "pads": _PADS, "dilation": _PAIR}
_POOL: dict[str, at.Check] = {"pool": _PAIR, "strides": _PAIR, "pads": _PADS}

SPECS: Mapping[str, Spec] = MappingProxyType(
    {
        "matmul": Spec(_matmul, weights=(1, 2), executable=_FUSED),
        "conv2d": Spec(_conv, weights=(1, 2), attrs=_CONV, recorded=_LAYOUT, executable=_FUSED),
        "depthwise_conv2d": Spec(_conv, weights=(1, 2), attrs=_CONV, recorded=_LAYOUT, executable=_FUSED),
        "add": Spec(_broadcast, inputs=(1, 2), weights=(0, 1)),
        "sub": Spec(_broadcast, inputs=(1, 2), weights=(0, 1)),
        "mul": Spec(_elementwise, weights=(1, 1), executable=_PRODUCT),
        "scale": Spec(_elementwise, attrs={"factor": at.real_constant}, executable=None),
        "scale_int": Spec(_elementwise, attrs={"multiplier": at.integer_constant, "bits": _SHIFT}, recorded=None),
        "truncate": Spec(_same, attrs={"bits": at.integer(1, at.MAX_TRUNCATION)}, recorded=None),
        "relu": Spec(_same, executable={"truncate": _DROP}),
        "sum_pool2d": Spec(_pool, attrs=_POOL, recorded=_LAYOUT),
        "max_pool2d": Spec(
            _pool, attrs=_POOL, recorded={**_LAYOUT, "relu": at.boolean}, executable={"relu": at.boolean}
        ),
        "reshape": Spec(_reshape, attrs={"shape": at.integers(None, 1)}),
        "transpose": Spec(_transpose, attrs={"perm": at.permutation}),
        "pad": Spec(_pad, attrs={"paddings": at.paddings}),
        "concat": Spec(_concat, inputs=(1, 1024), attrs={"axis": at.integer(0, at.MAX_RANK)}),
        "gather": Spec(_gather, attrs={"axis": at.integer(0, at.MAX_RANK), "indices": at.indices}),
    }
)

# What a recorded op may leave out.
DEFAULTS: Mapping[str, object] = MappingProxyType(
    {"pads": (0, 0, 0, 0), "dilation": (1, 1), "data_format": "NHWC", "relu": False}
)
