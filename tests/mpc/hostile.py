"""Random executable plans as a hostile owner might write them, run at three parties, and looked at from all sides.

    python -m tests.mpc.hostile SEED COUNT      with NUMBA_BOUNDSCHECK=1 kernels check every index

Theory of operation. A plan is drawn op by op: any kind, any tensors and weights for operands, attributes that fit or
nearly fit, false bounds. What `infer` would refuse is left out, and what is left must be accepted by `parse` as a party
calls it. It is then run twice with the very same masks. In the second run every row but one has another input, in all
its summands. All protocols work value by value, so with equal masks not a single bit of the shares that belong to the
one row may change; if any does, rows have met. That a value has the declared shape `Program` checks, and that no
kernel leaves its arrays numba does, or Python, where kernels are not compiled.
"""

from __future__ import annotations

import gc
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np

from keras_private.errors import PlanError
from keras_private.mpc.program import Program
from keras_private.plan import schedule
from keras_private.plan.attributes import MAX_TRUNCATION
from keras_private.plan.ops import KINDS, Bilinear, Product, infer
from keras_private.plan.ops.kind import Domain
from keras_private.plan.plan import BIT, INTEGER, REAL, Input, Op, Output, Plan, Shape, Tensor, Weight
from keras_private.plan.ports import BIT_RANGE, FORMS, PORT_KINDS
from keras_private.plan.serialise import parse, serialise
from keras_private.sharing.fixed import MAX_FRAC
from keras_private.sharing.share import Share

from . import lockstep

LARGEST = 300  # values of a tensor
EXECUTABLE = sorted(name for name, kind in KINDS.items() if kind.executable is not None)


class Author:
    """Writes one plan."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.precision = random.choice([1, 8, 16, 24])
        self.tensors: dict[str, Tensor] = {}
        self.inputs = [self.input(number) for number in range(random.choice([1, 1, 2, 3]))]
        self.weights: dict[str, Weight] = {}
        self.ops: list[Op] = []

    def write(self) -> Plan:
        for _ in range(self.random.randint(1, 5)):
            kind, drawn = self.random.choice(EXECUTABLE), len(self.ops)
            for _ in range(8):
                if len(self.ops) == drawn:
                    self.draw(kind)
        outputs = self.gather_ends()
        forms = [self.random.choice(FORMS[len(p) > 1 :]) for p in (self.inputs, outputs)]
        inputs, ops = tuple(self.inputs), tuple(self.ops)
        return Plan(self.precision, inputs, tuple(outputs), self.tensors, self.weights, ops, *forms)

    def input(self, number: int) -> Input:
        random, tensor = self.random, f"x{number}"
        kind, rank = random.choice(PORT_KINDS), random.choice([0, 1, 1, 2, 3, 3, 3, 3, 4])
        self.tensors[tensor] = Tensor(self.shape(rank), self.precision if kind == REAL else 0, self.bound())
        low = float(random.randint(-9, 9))
        range_ = {REAL: None, INTEGER: (low, low + random.randint(0, 9)), BIT: BIT_RANGE}[kind]
        return Input(random.choice(["x", "a b", "ä/1"]) + str(number), tensor, kind, range_)

    def draw(self, kind: str) -> None:
        """Add an op of this kind, if `infer` takes what was drawn."""
        random, spec = self.random, KINDS[kind]
        names = list(self.tensors)
        if kind == "lookup":  # of whole numbers
            names = [name for name in names if not self.tensors[name].frac] or names
        low, high = spec.inputs
        count = random.choice([low, low, min(high, low + 1), min(high, 4)])
        if "2d" in kind:  # most shapes would do for nothing
            names = [name for name in names if len(self.tensors[name].shape) == 3 or random.random() < 0.1] or names
        inputs = tuple(self.operand(names, spec.domains, at) for at in range(count))
        if kind in ("add", "sub") and count == 2 and random.random() < 0.5:
            inputs = (inputs[0], self.with_other_axes(inputs[0]))
        if kind == "stack" and random.random() < 0.9:
            inputs = inputs[:1] * count
        x = self.tensors[inputs[0]]
        if kind == "lookup" and math.prod(x.shape) > 6:
            return  # the trees of many indices take longest of all
        if kind == "spline" and x.frac not in (0, self.precision):
            return  # each such number of bits has tables of its own, and they take longest to make
        attrs = {name: self.attribute(name, kind, x) for name in {**spec.attrs, **(spec.executable or {})}}
        weights: list[Weight] = []
        if isinstance(spec, Bilinear):
            inputs, weights = self.operands(kind, inputs[0], spec.weights[1], attrs)
        elif len(inputs) == 1 or kind not in ("add", "sub"):
            weights = self.weights_for(kind, x, spec.weights)
        if isinstance(spec, Product):
            second = weights[0].frac if weights else self.tensors[inputs[-1]].frac
            attrs["drop"] = random.choice([0, second, second, random.randint(0, 60)])
            if random.random() < 0.3:
                del attrs["bound"]
        self.add(kind, inputs, weights, attrs)

    def operands(self, kind: str, first: str, most: int, attrs: dict[str, Any]) -> tuple[tuple[str, ...], list[Weight]]:
        """The second operand of a product, a weight or a tensor, that fits the first or nearly does."""
        x = self.tensors[first]
        shape = self.matching(attrs["equation"], x.shape) if kind == "einsum" else None
        if self.random.random() < 0.5:
            if shape is None:
                return (first,), self.weights_for(kind, x, (1, most))
            return (first,), [Weight(shape, self.random.choice([0, self.precision, self.random.randint(0, 40)]))]
        if shape is None and kind == "mul":
            return (first, self.random.choice([first, self.with_other_axes(first)])), []
        if shape is None:
            (second, *_) = self.weights_for(kind, x, (1, 1))
            lead = self.addend(x.shape[:-2]) if kind == "matmul" and self.random.random() < 0.5 else ()
            shape = (*lead, *second.shape)[:8]
        if math.prod(shape) > LARGEST:
            return (first, first), []
        source = self.random.choice([name for name, tensor in self.tensors.items() if not tensor.bit])
        places = math.prod(self.tensors[source].shape)
        self.must("reshape", [source], shape=(places,))
        taken = tuple(self.random.randrange(places) for _ in range(math.prod(shape)))
        self.must("gather", [self.ops[-1].output], axis=0, indices=taken)
        self.must("reshape", [self.ops[-1].output], shape=shape)
        return (first, self.ops[-1].output), []

    def equation(self, rank: int) -> str:
        """With axes that meet, that are summed, and now and then one too many or a diagonal."""
        random = self.random
        left = [random.choice("aab") if random.random() < 0.1 else letter for letter in "abcdefgh"[:rank]]
        right = random.sample("abcdwxyz", random.choice([0, 1, 2, 2, 3]))
        both = list(dict.fromkeys([*left, *right]))
        out = random.sample(both, random.randint(0, len(both)))
        return f"{''.join(left)},{''.join(right)}->{''.join(out)}"

    def matching(self, equation: str, left: Shape) -> Shape:
        labels, right = equation.partition("->")[0].split(",")
        sizes = dict(zip(labels, left, strict=False))
        return tuple(
            sizes.get(label, self.random.randint(1, 3)) if self.random.random() < 0.9 else 1 for label in right
        )

    def operand(self, names: list[str], domains: Sequence[Domain], position: int) -> str:
        """Mostly bits where bits are asked for, and one of the latest tensors."""
        wanted = {domain.inputs[min(position, len(domain.inputs) - 1)] for domain in domains}
        if self.random.random() < 0.95:
            names = [name for name in names if self.tensors[name].bit in wanted] or names
        return self.random.choice(names[-self.random.choice([1, 2, len(names)]) :])

    def add(self, kind: str, inputs: Sequence[str], weights: Sequence[Weight], attrs: dict[str, Any]) -> None:
        named = {f"w{len(self.weights) + i}": weight for i, weight in enumerate(weights)}
        op = Op(kind, tuple(inputs), tuple(named), f"t{len(self.ops)}", attrs, "layer")
        try:
            made = infer(op, [self.tensors[name] for name in inputs], list(weights), self.precision)
        except PlanError:
            return
        if math.prod(made.shape) > LARGEST or any(weight.frac > MAX_FRAC for weight in weights):
            return
        self.ops.append(op)
        self.weights |= named
        self.tensors[op.output] = replace(made, bound=self.bound())

    def with_other_axes(self, name: str) -> str:
        """The same values with axes of one more or fewer, and the first one of those, if there is one, made longer."""
        axes = [axis for axis in self.tensors[name].shape if axis > 1 or self.random.random() < 0.5]
        axes = [1] * self.random.randint(0, 1) + axes
        self.must("reshape", [name], shape=tuple(axes))
        if axes[:1] == [1]:
            longer = (0, self.random.randint(0, 4))
            self.must("pad", [self.ops[-1].output], paddings=(longer, *[(0, 0)] * (len(axes) - 1)))
        return self.ops[-1].output

    def gather_ends(self) -> list[Output]:
        """Make outputs of what nobody uses, since a plan has to use everything: some join, some have two names."""
        used = {name for op in self.ops for name in op.inputs}
        ends = [name for name in self.tensors if name not in used]
        self.random.shuffle(ends)
        cut = self.random.choice([0, self.random.randint(0, len(ends))])
        made = [self.joined(part) for part in (ends[:cut], ends[cut:]) if part]
        whole = [
            name
            for name in self.tensors
            if self.tensors[name].frac in (0, self.precision) and not self.tensors[name].bit
        ]
        made += self.random.sample(whole, self.random.choice([0, 0, min(len(whole), 2)]))
        kinds = [REAL if self.tensors[name].frac else self.random.choice([INTEGER, BIT]) for name in made]
        return [Output(f"y{i}", name, kind) for i, (name, kind) in enumerate(zip(made, kinds, strict=True))]

    def joined(self, ends: Sequence[str]) -> str:
        flat = []
        for end in ends:
            tensor = self.tensors[end]
            self.must("reshape", [end], shape=(math.prod(tensor.shape),))
            if tensor.bit:
                self.must("to_number", [self.ops[-1].output])
            down = tensor.frac - self.precision
            for bits in (min(down, MAX_TRUNCATION), down - MAX_TRUNCATION):
                if bits > 0:
                    self.must("truncate", [self.ops[-1].output], drop=bits)
            if down < 0:
                self.must("scale_int", [self.ops[-1].output], multiplier=1 << -down, shift=-down)
            flat.append(self.ops[-1].output)
        if len(flat) > 1:
            self.must("concat", flat, axis=0)
        return self.ops[-1].output

    def must(self, kind: str, inputs: Sequence[str], **attrs: Any) -> None:
        op = Op(kind, tuple(inputs), (), f"t{len(self.ops)}", attrs, "layer")
        made = infer(op, [self.tensors[name] for name in inputs], [], self.precision)
        self.ops.append(op)
        self.tensors[op.output] = made

    # --- what it draws from

    def shape(self, rank: int) -> Shape:
        while True:
            shape = tuple(self.random.choice([1, 1, 2, 2, 3, 4, 5]) for _ in range(rank))
            if math.prod(shape) <= LARGEST:
                return shape

    def bound(self) -> int | None:
        """Proven bits of a value, as claimed: nobody can check it."""
        return self.random.choice([None, self.random.choice([1, 8, 20, 33, 47, 62])])

    def weights_for(self, kind: str, x: Tensor, count: tuple[int, int]) -> list[Weight]:
        random = self.random
        chosen = random.randint(*count)
        if kind in ("add", "sub"):
            return [Weight(self.addend(x.shape), x.frac) for _ in range(chosen)]
        if not chosen:
            return []
        if kind == "lookup":
            return [Weight((random.randint(1, 9), *self.shape(random.choice([0, 1, 2])))[:8], random.randint(0, 40))]
        frac = random.choice([0, self.precision, random.randint(0, 40)])
        last = x.shape[-1] if x.shape else 1
        kernel = (random.randint(1, 3), random.randint(1, 3), last, random.randint(1, 3))
        shape: Shape = {"matmul": (last, random.randint(1, 4)), "mul": self.addend(x.shape)}.get(kind, kernel)
        filters = kernel[2] * kernel[3] if kind == "depthwise_conv2d" else shape[-1] if shape else 1
        if random.random() < 0.1:
            shape = self.shape(random.randint(0, 4))
        return [Weight(shape, frac), Weight((filters,), x.frac + frac)][:chosen]

    def addend(self, shape: Shape) -> Shape:
        """A shape that broadcasts to `shape`, or nearly."""
        random = self.random
        kept = [axis if random.random() < 0.7 else 1 for axis in shape[random.choice([0, 0, random.randint(0, 4)]) :]]
        return tuple([random.randint(1, 4)] * (random.random() < 0.1) + kept)

    def attribute(self, name: str, kind: str, x: Tensor) -> Any:
        random, rank = self.random, len(x.shape)
        if kind == "slice" and name == "strides":
            return tuple(random.choice([1, 1, 2, 1 << 28]) for _ in x.shape)
        if name in ("strides", "dilation", "pool"):
            return (random.choice([1, 1, 2, 3]), random.choice([1, 1, 2, 2, 3, 1 << random.randint(2, 28)]))
        if name == "pads":
            return tuple(random.choice([0, 0, 0, 1, 1, 2, 3]) for _ in range(4))
        if name in ("threshold", "value", "low", "high"):
            return random.choice([0.0, 1.0, -3.0, 1 / 3, random.uniform(-9, 9), -1e300])
        if name == "coarse":
            return random.choice([0, 0, random.randint(1, 60)])
        if name == "cut":
            return True
        if name in ("k", "signs"):
            return random.randint(1, 5)
        if name in ("relu", "keepdims", "places"):
            return random.random() < 0.5
        if name == "drop":
            return random.choice([0, 1, max(1, x.frac - self.precision), random.randint(0, 60)])
        if name in ("bound", "shift"):
            return random.choice([0, 1, max(1, x.frac - self.precision), random.randint(1, 62)])
        if name == "multiplier":
            shape = self.addend(x.shape)
            values = tuple(random.randint(-(1 << 61), 1 << 61) for _ in range(math.prod(shape)))
            return random.choice([values[0], (shape, values)])
        if name == "shape":
            return self.refactored(x.shape)
        if name == "perm":
            return tuple(random.sample(range(rank), rank))
        if name == "paddings":
            return tuple((random.choice([0, 1, 2]), random.choice([0, 1])) for _ in range(rank))
        if name == "starts":
            return tuple(random.choice([0, 0, 1, axis - 1]) for axis in x.shape)
        if name == "stops":
            return tuple(random.choice([axis, axis, axis, random.randint(1, axis), axis + 1]) for axis in x.shape)
        if name == "axes":
            return tuple(sorted(random.sample(range(rank + 1), random.randint(1, rank + 1))))
        if name == "matrix":
            shape = (x.shape[-1] if x.shape else 1, random.randint(1, 4))
            return shape, tuple(random.randint(-(1 << 61), 1 << 61) for _ in range(math.prod(shape)))
        if name == "axis":
            return random.randint(0, rank)
        if name in ("function", "parameters", "goal", "frac"):  # whatever the bound, there is a table, and made soon
            return {"function": "sigmoid", "parameters": (), "goal": 12, "frac": 24}[name]
        if name == "equation":
            return self.equation(rank)
        if name == "indices":
            return tuple(random.randint(0, 5) for _ in range(random.randint(1, 5)))
        raise AssertionError(f"the author does not know what {name!r} of {kind} may be")

    def refactored(self, shape: Shape) -> Shape:
        """The same number of values in another shape; batch-like sizes are as likely as others."""
        left, found = math.prod(shape), []
        while left > 1:
            factor = self.random.choice([n for n in range(2, left + 1) if left % n == 0])
            found.append(factor)
            left //= factor
        found += [1] * self.random.choice([0, 0, 1, 2])
        self.random.shuffle(found)
        return tuple(found[:8])


# --- running


def run(programs: Sequence[Program], x: Sequence[np.ndarray], key: bytes) -> list[Share]:
    """All three parties' output shares, for the summands x_0, x_1, x_2 and masks that only depend on `key`."""
    return lockstep.run(
        lambda party: programs[party.index].protocol(party, Share(x[party.index], x[(party.index + 1) % 3])), key
    )


def look_at(plan: Plan, seed: int) -> None:
    """Parse and run a plan, and check all that a party promises about it."""
    accepted = parse(serialise(plan))
    noise = np.random.default_rng(seed)

    def words(shape: Sequence[int]) -> np.ndarray:
        return noise.integers(0, 2**64, tuple(shape), np.uint64)

    summands = {name: [words(weight.shape) for _ in range(3)] for name, weight in plan.weights.items()}
    programs = [
        Program(accepted, {name: Share(parts[i], parts[(i + 1) % 3]) for name, parts in summands.items()})
        for i in range(3)
    ]
    sizes = {axis for tensor in plan.tensors.values() for axis in tensor.shape if 2 <= axis <= 6}
    batch = int(noise.choice(sorted(sizes | {2, 3})))  # so that rows find an axis that they would fit to
    kept = int(noise.integers(batch))
    key = seed.to_bytes(8, "little")
    found = lockstep.assert_rows_apart(
        lambda xs: run(programs, xs[0], key), lambda: [[words((batch, plan.input_words)) for _ in range(3)]], kept
    )
    assert all(share.shape == (batch, plan.output_words) for share in found), "another shape than the plan says"


def hunt(seed: int, count: int) -> Counter[str]:
    """Write and run `count` plans; how often each op kind was among them.

    Raises:
        AssertionError: a plan was accepted that breaks a promise; says which and prints the plan.
    """
    kinds: Counter[str] = Counter()
    for number in range(seed, seed + count):
        plan = Author(Random(number)).write()  # noqa: S311  not for secrets
        try:
            # What one dealer would send too much of is dealt by several: in half of the plans by far sooner.
            with patch.object(schedule, "SPLIT_BYTES", 64 if number % 2 else schedule.SPLIT_BYTES):
                look_at(plan, number)
        except Exception as error:
            raise AssertionError(f"plan {number}: {type(error).__name__}: {error}\n{shown(plan)}") from error
        kinds.update(op.kind for op in plan.ops)
    return kinds


def shown(plan: Plan) -> str:
    lines = [f"{given} {plan.shape(given)}" for given in plan.inputs] + [str(made) for made in plan.outputs]
    lines += [f"{name} {weight.shape}" for name, weight in plan.weights.items()]
    for op in plan.ops:
        operands = ", ".join([*op.inputs, *op.weights])
        lines.append(f"{op.output} {plan.tensors[op.output].shape} = {op.kind}({operands}) {dict(op.attrs)}")
    return "\n".join(lines)


if __name__ == "__main__":
    gc.freeze()  # the collector need not look at modules after every plan
    found = hunt(int(sys.argv[1]), int(sys.argv[2]))
    print(" ".join(f"{kind}={number}" for kind, number in sorted(found.items())))  # noqa: T201
