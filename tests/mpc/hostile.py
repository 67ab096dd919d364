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

import hashlib
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np

from keras_private.errors import PlanError
from keras_private.mpc.masks import Masks
from keras_private.mpc.party import Party
from keras_private.mpc.program import Program
from keras_private.mpc.rounds import Protocol, Received, Step
from keras_private.plan.attributes import MAX_TRUNCATION
from keras_private.plan.ops import KINDS, Product, infer
from keras_private.plan.plan import BIT, INTEGER, REAL, Input, Op, Output, Plan, Shape, Tensor, Weight
from keras_private.plan.ports import BIT_RANGE, FORMS, NUMBERS
from keras_private.plan.serialise import MAX_BITS, parse, serialise
from keras_private.sharing.random import Stream
from keras_private.sharing.share import Share

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
        for _ in range(self.random.randint(1, 9)):
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
        kind, rank = random.choice(NUMBERS), random.choice([0, 1, 1, 2, 3, 3, 3, 3, 4])
        self.tensors[tensor] = Tensor(self.shape(rank), self.precision if kind == REAL else 0, self.bound())
        low = float(random.randint(-9, 9))
        range_ = {REAL: None, INTEGER: (low, low + random.randint(0, 9)), BIT: BIT_RANGE}[kind]
        return Input(random.choice(["x", "a b", "ä/1"]) + str(number), tensor, kind, range_)

    def draw(self, kind: str) -> None:
        """Add an op of this kind, if `infer` takes what was drawn."""
        random, spec = self.random, KINDS[kind]
        names = list(self.tensors)
        low, high = spec.inputs
        count = random.choice([low, low, min(high, low + 1), min(high, 4)])
        if "2d" in kind:  # most shapes would do for nothing
            names = [name for name in names if len(self.tensors[name].shape) == 3 or random.random() < 0.1] or names
        inputs = tuple(random.choice(names[-random.choice([1, 2, len(names)]) :]) for _ in range(count))
        if kind in ("add", "sub") and count == 2 and random.random() < 0.5:
            inputs = (inputs[0], self.with_other_axes(inputs[0]))
        if kind == "stack" and random.random() < 0.9:
            inputs = inputs[:1] * count
        x = self.tensors[inputs[0]]
        weights = self.weights_for(kind, x, spec.weights if len(inputs) == 1 or kind not in ("add", "sub") else (0, 0))
        attrs = {name: self.attribute(name, kind, x) for name in {**spec.attrs, **(spec.executable or {})}}
        if isinstance(spec, Product):
            attrs["drop"] = random.choice([0, weights[0].frac, weights[0].frac, random.randint(0, 60)])
            if random.random() < 0.3:
                del attrs["bound"]
        self.add(kind, inputs, weights, attrs)

    def add(self, kind: str, inputs: Sequence[str], weights: Sequence[Weight], attrs: dict[str, Any]) -> None:
        named = {f"w{len(self.weights) + i}": weight for i, weight in enumerate(weights)}
        op = Op(kind, tuple(inputs), tuple(named), f"t{len(self.ops)}", attrs, "layer")
        try:
            made = infer(op, [self.tensors[name] for name in inputs], list(weights), self.precision)
        except PlanError:
            return
        if math.prod(made.shape) > LARGEST or any(weight.frac > MAX_BITS for weight in weights):
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
        return self.random.choice([None, self.random.randint(1, 62)])

    def weights_for(self, kind: str, x: Tensor, count: tuple[int, int]) -> list[Weight]:
        random = self.random
        chosen = random.randint(*count)
        if kind in ("add", "sub"):
            return [Weight(self.addend(x.shape), x.frac) for _ in range(chosen)]
        if not chosen:
            return []
        frac = random.choice([0, self.precision, random.randint(0, 40)])
        last = x.shape[-1] if x.shape else 1
        kernel = (random.randint(1, 3), random.randint(1, 3), last, random.randint(1, 3))
        shape = {"matmul": (last, random.randint(1, 4)), "mul": self.addend(x.shape)}.get(kind, kernel)
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
        if name in ("relu", "keepdims"):
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


def in_lockstep(protocols: Sequence[Protocol[Share]]) -> list[Share]:
    """Run the three parties' protocols in one thread, each message handed over by hand."""
    steps: list[Step] = [next(protocol) for protocol in protocols] if protocols else []
    outputs: list[Share] = []
    while not outputs:
        arrived = []
        for i, step in enumerate(steps):
            of_next, of_prev = (
                np.frombuffer(b"".join(part.tobytes() for part in parts), np.uint8).copy()
                for parts in (steps[(i + 1) % 3].to_prev, steps[(i - 1) % 3].to_next)
            )
            assert (of_next.size, of_prev.size) == (step.from_next, step.from_prev), "not the bytes that were due"
            arrived.append(Received(of_next, of_prev))
        steps = []
        for protocol, received in zip(protocols, arrived, strict=True):
            try:
                steps.append(protocol.send(received))
            except StopIteration as stop:
                outputs.append(stop.value)
        assert len(steps) + len(outputs) == 3
        assert not outputs or not steps, "one party has ended before the others"
    return outputs


def run(programs: Sequence[Program], x: Sequence[np.ndarray], key: bytes) -> list[Share]:
    """All three parties' output shares, for the summands x_0, x_1, x_2 and masks that only depend on `key`."""
    protocols = []
    for i, program in enumerate(programs):
        names = (f"{i}", f"{(i + 1) % 3}", "common")
        masks = Masks(*(Stream(hashlib.sha256(key + name.encode()).digest()) for name in names))
        link: Any = SimpleNamespace(index=i)
        protocols.append(quiet(program.protocol(Party(link, masks), Share(x[i], x[(i + 1) % 3]))))
    return in_lockstep(protocols)


def quiet(protocol: Protocol[Share]) -> Protocol[Share]:
    """A protocol with one round more, so that plans without a message have one too."""
    yield Step()
    return (yield from protocol)


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
    first = [words((batch, plan.input_words)) for _ in range(3)]
    second = [words((batch, plan.input_words)) for _ in range(3)]
    for before, after in zip(first, second, strict=True):
        after[kept] = before[kept]
    key = seed.to_bytes(8, "little")
    for once, again in zip(run(programs, first, key), run(programs, second, key), strict=True):
        assert once.shape == again.shape == (batch, plan.output_words), "another shape than the plan says"
        for a, b in ((once.mine, again.mine), (once.next, again.next)):
            assert np.array_equal(a[kept], b[kept]), f"row {kept} of {batch} depends on the other rows"


def hunt(seed: int, count: int) -> Counter[str]:
    """Write and run `count` plans; how often each op kind was among them.

    Raises:
        AssertionError: a plan was accepted that breaks a promise; says which and prints the plan.
    """
    kinds: Counter[str] = Counter()
    for number in range(seed, seed + count):
        plan = Author(Random(number)).write()  # noqa: S311  not for secrets
        try:
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
    found = hunt(int(sys.argv[1]), int(sys.argv[2]))
    print(" ".join(f"{kind}={number}" for kind, number in sorted(found.items())))  # noqa: T201
