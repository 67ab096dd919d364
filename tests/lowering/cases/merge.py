"""Layers with several inputs."""

from __future__ import annotations

from typing import Any

from .case import IMAGE, Case


def merge(name: str, *args: Any, parts: int = 2, title: str = "", **kwargs: Any) -> Case:
    """The layer on x, a Dense of x, …"""

    def build(keras: Any, x: Any) -> Any:
        xs = [x, *(keras.layers.Dense(x.shape[-1])(x) for _ in range(parts - 1))]
        return getattr(keras.layers, name)(*args, **kwargs)(xs)

    return Case(title or f"{name} {kwargs}", (2, 3, 4), build, layers=(name,))


def _broadcast(keras: Any, x: Any) -> Any:
    return keras.layers.Add()([x, keras.layers.GlobalAveragePooling2D(keepdims=True)(x)])


def _ranks(name: str, parts: int = 2) -> Case:
    """Of inputs with fewer and fewer axes: those that are missing go in behind the batch."""

    def build(keras: Any, x: Any) -> Any:
        xs = [x, x[:, 0], x[:, 0, 0]][:parts]
        return getattr(keras.layers, name)()(xs)

    return Case(f"{name} of different ranks", (2, 3, 4), build, layers=(name,), private=False)


def _dot(title: str, axes: Any, shape: tuple[int, ...] = (3, 4), **kwargs: Any) -> Case:
    return Case(
        title,
        shape,
        lambda keras, x: keras.layers.Dot(axes=axes, **kwargs)([x, keras.layers.Dense(shape[-1])(x)]),
        layers=("Dot",),
        private=not kwargs,
    )


CASES: tuple[Case, ...] = (
    merge("Add", title="Add"),
    merge("Add", parts=3, title="Add three"),
    Case("Add with itself", (4,), lambda keras, x: keras.layers.Add()([x, x])),
    Case("Add, broadcast", IMAGE, _broadcast),
    merge("Subtract", title="Subtract"),
    merge("Multiply", title="Multiply"),
    merge("Multiply", parts=3, title="Multiply three"),
    merge("Average", parts=3, title="Average three"),
    merge("Maximum", title="Maximum"),
    merge("Maximum", parts=3, title="Maximum of three"),
    merge("Minimum", parts=3, title="Minimum of three"),
    *(_ranks(name, 3) for name in ("Add", "Multiply", "Average", "Maximum", "Minimum")),
    _ranks("Subtract"),
    Case("Multiply with itself", (4,), lambda keras, x: keras.layers.Multiply()([x, x]), private=False),
    Case("Maximum, broadcast", (3, 4), lambda keras, x: keras.layers.Maximum()([x, x[:, :1]]), private=False),
    _dot("Dot", 1),
    _dot("Dot of last axes", -1),
    _dot("Dot, an axis each", (1, 2), (4, 4)),
    _dot("Dot of vectors", 1, (5,)),
    _dot("Dot, normalised", 2, normalize=True),
    merge("Concatenate", title="Concatenate"),
    merge("Concatenate", axis=1, parts=3),
    merge("Concatenate", axis=-2),
)
