"""Softmax, where it does not end the model: there it would be left to the client."""

from __future__ import annotations

from typing import Any

from .case import IMAGE, Case


def _inside(title: str, *args: Any, private: bool = True, **kwargs: Any) -> Case:
    def build(keras: Any, x: Any) -> Any:
        return keras.layers.Flatten()(keras.layers.Softmax(*args, **kwargs)(x))

    return Case(f"Softmax {title}", IMAGE, build, layers=("Softmax",), private=private)


def _activation(name: str) -> Case:
    return Case(
        f"{name} inside", (3, 4), lambda keras, x: keras.layers.Flatten()(keras.layers.Dense(5, activation=name)(x))
    )


CASES: tuple[Case, ...] = (
    _inside("of channels"),
    _inside("of rows", axis=1, private=False),
    _inside("of two axes", axis=[1, 3]),
    _inside("of all axes", axis=[1, 2, 3], private=False),
    _activation("softmax"),
    _activation("log_softmax"),
)
