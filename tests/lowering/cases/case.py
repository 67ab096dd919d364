"""What a case is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Build = Callable[[Any, Any], Any]  # (keras, input tensor) -> output tensor

VOLUME = (4, 5, 3, 2)
IMAGE = (6, 5, 3)
STEPS = (7, 3)
FIRST = "channels_first"


@dataclass(frozen=True)
class Case:
    """A model of one input.

    layers: the classes that it shows to be lowered; docs/layers.md may list no others.
    private: whether three parties run it as well; of variants that only differ before anything is shared one is enough.
    whole: the lowest and the highest of its inputs, if these are whole numbers.
    """

    name: str
    shape: tuple[int, ...]  # per sample
    build: Build
    keras: tuple[str, ...] = ("keras", "tf_keras")
    layers: tuple[str, ...] = ()
    private: bool = True
    whole: tuple[int, int] | None = None

    @property
    def range(self) -> tuple[float, float]:
        """What its inputs lie in."""
        return self.whole or (-2.0, 2.0)

    def model(self, keras: Any) -> Any:
        """The model, with random weights."""
        x = keras.Input(self.shape, dtype="int32" if self.whole else "float32")
        return randomise(keras.Model(x, self.build(keras, x), name="case"))

    def inputs(self, batch: int = 2) -> np.ndarray:
        """Real ones in -2 … 2, and of multiples of 1/8, so that values exactly at a threshold do occur."""
        rng, shape = np.random.default_rng(len(self.name)), (batch, *self.shape)
        if self.whole:
            return rng.integers(self.whole[0], self.whole[1], shape, dtype=np.int32, endpoint=True)
        return (np.round(rng.uniform(-2, 2, shape) * 8) / 8).astype(np.float32)


def randomise(model: Any, seed: int = 7) -> Any:
    """Random weights of moderate size; variances are positive."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if hasattr(layer, "layers"):
            randomise(layer, seed + 1)
            continue
        values = []
        for weight in layer.weights:
            drawn = rng.uniform(-0.5, 0.5, tuple(weight.shape))
            if "var" in weight.name:  # moving_variance; Normalization's own statistics stay as given
                drawn = np.abs(drawn) + 0.5
            values.append(drawn)
        if values and type(layer).__name__ != "Normalization":
            layer.set_weights(values)
    return model


def layer(
    name: str,
    shape: tuple[int, ...],
    *args: Any,
    title: str = "",
    only: str = "",
    private: bool = True,
    whole: tuple[int, int] | None = None,
    **kwargs: Any,
) -> Case:
    """A model of one layer."""
    words = [title] if title else [name, *map(str, args), *(f"{key}={value}" for key, value in kwargs.items())]
    return Case(
        " ".join(words),
        shape,
        lambda keras, x: getattr(keras.layers, name)(*args, **kwargs)(x),
        (only,) if only else ("keras", "tf_keras"),
        (name,),
        private,
        whole,
    )
