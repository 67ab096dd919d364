"""From real numbers to fixed point: fractional bits for every tensor and weight, and as few truncations as possible.

Theory of operation. One pass in execution order. A secret product needs an input with `precision` = f fractional bits
and makes one with f + (those of the weight). The truncation back to f is fused into the product, or, where what follows
is local (sums, pooling, reshapes), put off until a ReLU takes it along for free or a consumer insists. So at most one
truncation is paid for per linear layer.

Fractional bits of a weight: so many that its largest element has about f + 4 significant bits (1/255 folded into a
kernel must not cost accuracy), between f and f + 12, and only while the product is proven to stay below 2^61. Without a
proof the largest element gets f significant bits: then the product is as safe as if it were weighted by numbers up to
one, and the sum of the inputs' magnitudes may reach 2^(62-2f), the range contract.

Where both sides of an addition have different fractional bits, the coarser is shifted left, which is local and exact,
if its bound allows or it has none (then the range contract is about the sum); otherwise the finer is truncated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_private.errors import PlanError
from keras_private.plan import bounds
from keras_private.plan.attributes import constant, constant_array
from keras_private.plan.bounds import Interval
from keras_private.plan.builder import fresh_name
from keras_private.plan.ops import CONTRACT_BITS, LINEAR, PRODUCTS, describe, infer
from keras_private.plan.plan import Draft, Op, Plan, Shape, Tensor, Weight

Array = NDArray[np.float64]

SAFE_BITS = 61  # one below the contract: room for one more addition
GUARD_BITS = 4  # significant bits of a layer's largest weight beyond the precision
EXTRA_BITS = 12  # a weight's fractional bits beyond the precision, at most


def fixed_point(draft: Draft, precision: int = 16) -> Draft:
    """The executable plan of a recorded one in NHWC.

    Raises:
        PlanError: a weight or a proven value does not fit; the message names the layer and what to do.
    """
    if not 1 <= precision <= 24:
        raise PlanError(f"precision_fractional must be 1 to 24, not {precision}")
    writer = _Writer(draft, precision)
    for op in draft.plan.ops:
        writer.write(op)
    return writer.finish()


@dataclass(frozen=True, slots=True)
class _Value:
    """An executable tensor and all that is known of it."""

    name: str
    tensor: Tensor
    interval: Interval | None


class _Writer:
    def __init__(self, draft: Draft, precision: int) -> None:
        self.draft = draft
        self.precision = precision
        plan = draft.plan
        self.users: dict[str, list[Op]] = {}
        for op in plan.ops:
            for name in op.inputs:
                self.users.setdefault(name, []).append(op)
        self.products = {op.output for op in plan.ops if op.kind in PRODUCTS}
        interval = bounds.of_input(plan.input_shape, plan.input_range, precision)
        tensor = Tensor(plan.input_shape, precision, bounds.bits(interval, precision))
        if interval is not None and tensor.bits is None:
            raise PlanError(
                f"input_range {plan.input_range} does not fit {precision} fractional bits; narrow the range"
            )
        self.input = _Value("input", tensor, interval)
        self.values: dict[str, _Value] = {plan.input: self.input}  # by recorded name
        self.precise: dict[str, _Value] = {}  # by executable name: the same value with frac = precision
        self.tensors: dict[str, Tensor] = {"input": tensor}
        self.weights: dict[str, Array] = {}
        self.fracs: dict[str, int] = {}
        self.ops: list[Op] = []
        self.fused: set[str] = set()

    def finish(self) -> Draft:
        plan = self.draft.plan
        output = self.at_precision(self.values[plan.output], self.ops[-1].layer if self.ops else "")
        weights = {name: Weight(value.shape, self.fracs[name]) for name, value in self.weights.items()}
        ops, final = tuple(self.ops), plan.final_activation
        done = Plan(self.precision, "input", output.name, plan.input_range, self.tensors, weights, ops, final)
        return Draft(done, self.weights)

    # --- one recorded op

    def write(self, op: Op) -> None:
        if op.output in self.fused:
            return
        xs = [self.values[name] for name in op.inputs]
        if op.kind in PRODUCTS:
            self.values[op.output] = self.product(op, self.at_precision(xs[0], op.layer))
        elif op.kind == "scale":
            self.values[op.output] = self.scale(op, xs[0])
        elif op.kind == "relu":
            drop = xs[0].tensor.frac - self.precision
            self.values[op.output] = self.emit(op, [xs[0]], truncate=drop)
        elif op.kind == "max_pool2d":
            self.values[op.output] = self.emit(op, [self.at_precision(xs[0], op.layer)])
        elif op.kind in ("add", "sub", "concat"):
            self.values[op.output] = self.join(op, xs)
        else:
            self.values[op.output] = self.local(op, xs[0])

    def product(self, op: Op, x: _Value) -> _Value:
        """A linear op or mul, with its truncation and a ReLU that follows."""
        relu = self.only_relu(op) if op.kind in LINEAR else None
        weight = self.draft.values[op.weights[0]]
        frac = self.weight_frac(op, x, weight)
        names = [self.encode(op, op.weights[0], frac)]
        if len(op.weights) == 2:
            names.append(self.encode(op, op.weights[1], x.tensor.frac + frac))
        later = relu is None and self.puts_off(op.output)
        attrs: dict[str, Any] = {"truncate": 0 if later else frac}
        if op.kind in LINEAR:
            attrs["relu"] = relu is not None
        result = self.emit(op, [x], names, **attrs)
        if relu is not None:
            self.fused.add(relu.output)
            self.values[relu.output] = result
        return result

    def weight_frac(self, op: Op, x: _Value, weight: Array) -> int:
        """Fractional bits of the op's weight; see the theory above."""
        largest = float(np.max(np.abs(weight)))
        small = 0 if largest == 0 else math.floor(-math.log2(largest))
        product = bounds.propagate(op, [x.interval], [self.draft.values[name] for name in op.weights])
        if product is None:
            return self.precision + min(max(small, 0), EXTRA_BITS)
        room = SAFE_BITS - bounds.needed_bits(product, x.tensor.frac + self.precision)
        return self.precision + max(0, min(small + GUARD_BITS if largest else 0, EXTRA_BITS, room))

    def scale(self, op: Op, x: _Value) -> _Value:
        """A public factor that met no linear op: an integer and a shift."""
        factor = constant_array(op.attrs["factor"]).astype(np.float64)
        shift = _shift(factor, self.precision)
        scaled = bounds.propagate(op, [x.interval], [])
        raw = x.tensor.frac + shift
        if raw > 2 * self.precision and (scaled is None or bounds.needed_bits(scaled, raw) > SAFE_BITS):
            x = self.at_precision(x, op.layer)
            raw = x.tensor.frac + shift
            if raw > 2 * self.precision and (scaled is None or bounds.needed_bits(scaled, raw) > SAFE_BITS):
                shift = self.precision
        multiplier = np.rint(np.ldexp(factor, shift))
        if np.any(np.abs(multiplier) >= 2.0 ** (SAFE_BITS - 1)):
            raise PlanError(f"{describe(op)}: a factor is too large for {self.precision} fractional bits")
        whole = Op("scale_int", op.inputs, (), op.output, {}, op.layer)
        return self.emit(whole, [x], multiplier=constant(multiplier.astype(np.int64)), bits=shift)

    def join(self, op: Op, xs: Sequence[_Value]) -> _Value:
        """add, sub, concat: both sides must have the same fractional bits and rank."""
        if op.weights:
            if xs[0].tensor.frac > self.precision and not self.fits(op, xs):
                xs = [self.at_precision(xs[0], op.layer)]
            return self.emit(op, xs, [self.encode(op, op.weights[0], xs[0].tensor.frac)])
        xs = self.level(op, xs)
        if xs[0].tensor.frac > self.precision and not self.fits(op, xs):
            xs = [self.at_precision(x, op.layer) for x in xs]
        if op.kind != "concat":
            rank = max(len(x.tensor.shape) for x in xs)
            xs = [self.grown(x, rank, op.layer) for x in xs]
        return self.emit(op, xs)

    def level(self, op: Op, xs: Sequence[_Value]) -> list[_Value]:
        """The same values with equal fractional bits: the most any has, or, where that does not fit, the fewest."""
        finest, coarsest = max(x.tensor.frac for x in xs), min(x.tensor.frac for x in xs)

        def may_shift(x: _Value) -> bool:
            if x.tensor.frac == finest:
                return True
            if x.interval is None:
                return finest <= 2 * self.precision + EXTRA_BITS
            return bounds.needed_bits(x.interval, finest) <= SAFE_BITS

        if all(map(may_shift, xs)):
            return [self.shifted(x, finest, op.layer) for x in xs]
        return [self.truncated(x, coarsest, op.layer) for x in xs]

    def local(self, op: Op, x: _Value) -> _Value:
        widens = op.kind == "gather" and not self.narrows(op)
        if x.tensor.frac > self.precision and (widens or not self.fits(op, [x])):
            x = self.at_precision(x, op.layer)
        return self.emit(op, [x])

    # --- decisions

    def only_relu(self, op: Op) -> Op | None:
        """The ReLU that is the only user of `op`'s output."""
        users = self.users.get(op.output, [])
        alone = len(users) == 1 and users[0].kind == "relu" and op.output != self.draft.plan.output
        return users[0] if alone else None

    def puts_off(self, tensor: str) -> bool:
        """Whether a truncation of `tensor` is better left to what follows."""
        users = self.users.get(tensor, [])
        if tensor == self.draft.plan.output or not users:
            return False
        for user in users:
            if user.kind in ("sum_pool2d", "relu"):
                continue
            if len(user.inputs) == 2 and self.products.issuperset(user.inputs):
                continue  # two products added: one truncation instead of two
            passes = user.kind in ("reshape", "transpose", "pad", "concat", "add", "sub") or self.narrows(user)
            if not passes or not self.puts_off(user.output):
                return False
        return True

    def narrows(self, op: Op) -> bool:
        """Whether `op` is a gather that leaves no more values than there were: none is truncated twice."""
        return op.kind == "gather" and len(op.attrs["indices"]) <= self.recorded(op.inputs[0])[op.attrs["axis"]]

    def recorded(self, tensor: str) -> Shape:
        return self.draft.plan.tensors[tensor].shape

    def fits(self, op: Op, xs: Sequence[_Value]) -> bool:
        """Whether the result of a local op is within the contract while it carries more than `precision` bits."""
        weights = [self.draft.values[name] for name in op.weights]
        result = bounds.propagate(op, [x.interval for x in xs], weights)
        if result is None:
            return True
        return bounds.needed_bits(result, xs[0].tensor.frac) <= SAFE_BITS

    # --- what emits

    def at_precision(self, x: _Value, layer: str) -> _Value:
        if x.name not in self.precise:
            self.precise[x.name] = self.truncated(x, self.precision, layer)
        return self.precise[x.name]

    def truncated(self, x: _Value, frac: int, layer: str) -> _Value:
        if x.tensor.frac == frac:
            return x
        return self.emit(Op("truncate", (), (), "", {}, layer), [x], bits=x.tensor.frac - frac)

    def shifted(self, x: _Value, frac: int, layer: str) -> _Value:
        up = frac - x.tensor.frac
        return x if up == 0 else self.emit(Op("scale_int", (), (), "", {}, layer), [x], multiplier=1 << up, bits=up)

    def grown(self, x: _Value, rank: int, layer: str) -> _Value:
        """Broadcasting among tensors is spelt out: equal ranks."""
        missing = rank - len(x.tensor.shape)
        if missing == 0:
            return x
        return self.emit(Op("reshape", (), (), "", {}, layer), [x], shape=(1,) * missing + x.tensor.shape)

    def encode(self, op: Op, name: str, frac: int) -> str:
        """A weight of the executable plan."""
        value = self.draft.values[name]
        if value.size and float(np.max(np.abs(value))) >= 2.0 ** (CONTRACT_BITS - frac):
            raise PlanError(
                f"{describe(op)}: weight {name!r} is too large for {self.precision} fractional bits; "
                "lower precision_fractional or rescale the layer"
            )
        new = fresh_name(name.partition(":")[0], self.weights)
        self.weights[new] = value
        self.fracs[new] = frac
        return new

    def emit(self, like: Op, xs: Sequence[_Value], weights: Sequence[str] = (), **attrs: Any) -> _Value:
        """Append an op of `like`'s kind, with what it proves."""
        kept = {name: value for name, value in like.attrs.items() if name not in ("data_format", "factor")}
        output = f"t{len(self.ops)}"
        op = Op(like.kind, tuple(x.name for x in xs), tuple(weights), output, {**kept, **attrs}, like.layer)
        shapes = [Weight(self.weights[name].shape, self.fracs[name]) for name in weights]
        tensor = infer(op, [x.tensor for x in xs], shapes, self.precision)
        encoded = [_rounded(self.weights[name], self.fracs[name]) for name in weights]
        product = bounds.propagate(op, [x.interval for x in xs], encoded)
        raw_frac = tensor.frac + int(op.attrs.get("truncate", 0))
        product = self.checked(op, product, raw_frac)
        if op.kind in PRODUCTS:
            op = replace(op, attrs={**op.attrs, "bits": bounds.bits(product, raw_frac) or CONTRACT_BITS})
        interval = bounds.after_product(op, product, tensor.frac)
        tensor = replace(tensor, bits=bounds.bits(interval, tensor.frac))
        self.ops.append(op)
        self.tensors[output] = tensor
        return _Value(output, tensor, interval)

    def checked(self, op: Op, product: Interval | None, frac: int) -> Interval | None:
        """Drop a bound that proves nothing; refuse one that proves an overflow."""
        if product is None or bounds.bits(product, frac) is not None:
            return product
        limit = 2.0 ** (CONTRACT_BITS - frac)
        if product.attained or bool(np.any(product.low >= limit) or np.any(product.high <= -limit)):
            raise PlanError(
                f"{describe(op)}: with input_range {self.draft.plan.input_range} its values reach 2^"
                f"{bounds.needed_bits(product, frac) - frac}, and 2^{CONTRACT_BITS - frac} is the limit; "
                "narrow input_range or lower precision_fractional"
            )
        return None


def _shift(factor: Array, precision: int) -> int:
    """Bits to scale a factor by: as few as make it whole, else enough for `precision` significant bits."""
    for shift in range(precision + 1):
        scaled = np.ldexp(factor, shift)
        if np.all(scaled == np.rint(scaled)):
            return shift
    smallest = float(np.min(np.abs(factor[factor != 0])))
    return precision + min(max(math.floor(-math.log2(smallest)), 0), EXTRA_BITS)


def _rounded(value: Array, frac: int) -> Array:
    result: Array = np.ldexp(np.rint(np.ldexp(value, frac)), -frac)
    return result
