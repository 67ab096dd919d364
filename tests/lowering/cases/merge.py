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
    merge("Concatenate", title="Concatenate"),
    merge("Concatenate", axis=1, parts=3),
    merge("Concatenate", axis=-2),
)
