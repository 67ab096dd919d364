"""Random graphs with products of tensors, in channels-first layouts: rewritten and in fixed point they are the same."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_private.errors import PlanError
from keras_private.plan.builder import Draft, PlanBuilder
from keras_private.plan.evaluate import evaluate
from keras_private.plan.ops import Product, kind_of
from keras_private.plan.optimise import optimise, simplify
from keras_private.plan.plan import Shape
from tests.plans import the_output

from .integers import run
from .models import inputs

LARGEST = 80  # values of a tensor
ALWAYS = (
    "relu",
    "transpose",
    "scale",
    "mul weight",
    "add weight",
    "add",
    "mul",
    "mul",
    "mul",
    "square",
    "einsum",
    "reshape",
)


class Author:
    """Writes one recorded plan: any op on any tensors that it fits."""

    def __init__(self, seed: int, *, ranged: bool) -> None:
        self.random = Random(seed)  # noqa: S311 - not for secrets
        self.noise = np.random.default_rng(seed)
        self.builder = PlanBuilder((2, 4, 3), (-1.0, 1.0) if ranged else None)
        self.made = [self.builder.input]

    def write(self) -> Draft:
        random = self.random
        for _ in range(random.randint(3, 14)):
            try:
                made = self.draw(random.choice([name for name in self.made if self.builder.shape(name)][-3:]))
            except PlanError:  # what was drawn does not fit
                continue
            if math.prod(self.builder.shape(made)) <= LARGEST:
                self.made.append(made)
        ends = random.sample(self.made, min(3, len(self.made)))
        flat = [self.builder.op("reshape", end, shape=(math.prod(self.builder.shape(end)),)) for end in ends]
        return self.builder.finish(self.builder.op("concat", flat, axis=0))

    def draw(self, x: str) -> str:
        shape, random = self.builder.shape(x), self.random
        op, layer = self.builder.op, f"l{len(self.made)}"
        other = random.choice(
            [name for name in self.made if name != x and (self.builder.shape(name) == shape or random.random() < 0.2)]
            or [x]
        )
        images = [name for name in self.made if len(self.builder.shape(name)) == 3]
        kind = random.choice([*ALWAYS, "image", "image", "matmul", "dense", "concat", "kernel"])
        if kind == "relu":
            return op("relu", x, layer=layer)
        if kind == "square":
            return op("square", x, layer=layer)
        if kind in ("add", "mul"):
            return op(random.choice(["add", "sub"]) if kind == "add" else "mul", [x, other], layer=layer)
        if kind == "transpose":
            return op("transpose", x, perm=tuple(random.sample(range(len(shape)), len(shape))))
        if kind == "reshape":
            return op("reshape", x, shape=random.choice([(math.prod(shape),), (*shape, 1), shape[::-1]]))
        if kind == "scale":
            return op("scale", x, factor=random.choice([0.5, -1.0, 0.3, ((), (2.0,))]))
        if kind in ("mul weight", "add weight"):
            return op(kind[:3], x, weights=self.weight(tuple(random.choice([1, size]) for size in shape)), layer=layer)
        if kind == "einsum":
            letters = "abcdefgh"[: len(shape)]
            if random.random() < 0.3:
                return op(
                    "einsum",
                    x,
                    weights=self.weight((shape[-1], 2)),
                    equation=f"{letters},{letters[-1]}z->z{letters[:-1]}",
                )
            out = "".join(random.sample(letters, random.randint(0, len(letters))))
            return op("einsum", [x, x if random.random() < 0.5 else other], equation=f"{letters},{letters}->{out}")
        if kind == "matmul":
            turned = op("transpose", x, perm=(*range(len(shape) - 2), *range(len(shape))[-2:][::-1]))
            return op("matmul", random.choice([[x, turned], [turned, x], [x, other]]), layer=layer)
        if kind == "dense":
            return op("matmul", x, weights=self.weight((shape[-1], random.randint(1, 4))), layer=layer)
        if kind == "concat":
            return op("concat", [x, other], axis=random.randrange(len(shape) or 1))
        return self.image(kind, random.choice(images), layer)

    def image(self, kind: str, x: str, layer: str) -> str:
        """An op on windows, mostly channels first, on any image of them all."""
        random, op = self.random, self.builder.op
        layout = random.choice(["NCHW", "NCHW", "NHWC"])
        channels = self.builder.shape(x)[0 if layout == "NCHW" else 2]
        attrs = {"strides": (1, random.choice([1, 2])), "data_format": layout, "pads": (random.randint(0, 1), 0, 0, 1)}
        size = (2, random.randint(1, 2))
        if kind == "kernel":  # each row has a kernel of its own
            values = op("reshape", x, shape=(math.prod(self.builder.shape(x)),))
            wanted = (*size, channels, random.randint(1, 2))
            places = tuple(random.randrange(self.builder.shape(values)[0]) for _ in range(math.prod(wanted)))
            kernel = op("reshape", op("gather", values, axis=0, indices=places), shape=wanted)
            return op(random.choice(["conv2d", "depthwise_conv2d"]), [x, kernel], layer=layer, **attrs)
        drawn = random.choice(["conv2d", "depthwise_conv2d", "sum_pool2d", "max_pool2d"])
        if "conv" in drawn:
            return op(drawn, x, weights=self.weight((*size, channels, 2)), layer=layer, **attrs)
        return op(drawn, x, pool=(2, 2), layer=layer, **attrs)

    def weight(self, shape: Shape) -> str:
        return self.builder.weight(self.noise.normal(size=shape) * 0.5, "w")


def close(found: np.ndarray, expected: np.ndarray, error: float) -> bool:
    return bool(np.all(np.abs(found - expected) <= error * max(1.0, float(np.max(np.abs(expected))))))


@settings(max_examples=150)
@given(st.integers(0, 2**32))
def test_rewriting_changes_no_result(seed: int) -> None:
    draft = Author(seed, ranged=True).write()
    x = inputs(draft)
    expected = evaluate(draft, x)
    assert close(evaluate(simplify(draft), x), expected, 1e-9)


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.booleans())
def test_fixed_point_means_the_same(seed: int, ranged: bool) -> None:
    """What is refused would not have fitted; what is not is right in integers too, as long as they fit."""
    draft = Author(seed, ranged=ranged).write()
    x = inputs(draft)
    expected = evaluate(draft, x)
    try:
        done = optimise(draft)
    except PlanError as error:
        assert any(reason in str(error) for reason in ("limit", "too large", "outgrow"))  # noqa: PT017 - not always
        return
    assert close(evaluate(done, x), expected, 1e-2)
    if ranged and np.max(np.abs(expected)) < 1e3 and done.accuracy is not None:
        answers = np.ldexp(run(done, x)[the_output(done.plan).tensor].astype(np.float64), -done.plan.precision)
        assert close(answers, expected, 1e-2)


def test_the_graphs_have_what_they_are_about() -> None:
    found: Counter[tuple[str, int]] = Counter()
    for seed in range(150):
        for op in simplify(Author(seed, ranged=True).write()).plan.ops:
            if isinstance(kind_of(op), Product):
                found[op.kind, len(op.inputs)] += 1
    assert {("mul", 2), ("mul", 1), ("square", 1), ("einsum", 2), ("einsum", 1), ("matmul", 2)} <= found.keys()
    assert {("conv2d", 2), ("conv2d", 1), ("depthwise_conv2d", 2), ("matmul", 1)} <= found.keys()
    assert found["mul", 2] > 20
