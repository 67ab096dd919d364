"""Numbers as categories."""

from __future__ import annotations

from typing import Any

from .case import Case, layer

BOUNDS = [-1.0, -0.3, 0.5]
WORDS = [12, -3, 7]


def _weighted(keras: Any, x: Any) -> Any:
    layers = keras.layers
    return layers.CategoryEncoding(6, output_mode="count")(x, count_weights=layers.Embedding(6, 1)(x)[:, :, 0])


def _embedded(keras: Any, x: Any) -> Any:
    return keras.layers.Embedding(4, 3)(keras.layers.Discretization(BOUNDS)(x))


CASES: tuple[Case, ...] = (
    layer("Discretization", (5,), BOUNDS, output_mode="int"),
    layer("Discretization", (1,), [0.5], output_mode="one_hot", private=False),
    layer("Discretization", (5,), BOUNDS, output_mode="multi_hot"),
    layer("Discretization", (5,), BOUNDS, output_mode="count", private=False),
    layer("Discretization", (3, 2), BOUNDS, output_mode="one_hot", only="keras", private=False),
    Case("bins and their rows", (5,), _embedded, layers=("Discretization", "Embedding")),
    layer("CategoryEncoding", (1,), 6, output_mode="one_hot", whole=(0, 5)),
    layer("CategoryEncoding", (4,), 6, output_mode="multi_hot", whole=(0, 5), private=False),
    layer("CategoryEncoding", (4,), 6, output_mode="count", whole=(0, 5), private=False),
    layer("CategoryEncoding", (4,), 6, output_mode="one_hot", whole=(0, 5), only="keras", private=False),
    Case("weighted counts", (4,), _weighted, ("keras",), ("CategoryEncoding",), whole=(0, 5)),
    layer("IntegerLookup", (6,), vocabulary=WORDS, whole=(-5, 15)),
    layer("IntegerLookup", (6,), vocabulary=WORDS, mask_token=0, whole=(-5, 15), private=False),
    layer("IntegerLookup", (6,), vocabulary=WORDS, output_mode="multi_hot", whole=(-5, 15), private=False),
    layer("IntegerLookup", (6,), vocabulary=WORDS, output_mode="count", whole=(-5, 15), private=False),
    layer("IntegerLookup", (1,), vocabulary=WORDS, output_mode="one_hot", whole=(-5, 15), private=False),
    layer("IntegerLookup", (4,), vocabulary=WORDS, invert=True, whole=(0, 3), private=False),
)
