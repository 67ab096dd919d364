"""A layer of your own, lowered by a function of your own.

`Clip` keeps its input between two bounds that were trained: its lowering says so in terms of what the three parties can
compute on shares. Trained numbers go in through `secret`; numbers that everybody may know are plain floats.

    python examples/custom_layer.py
"""

# ruff: noqa: T201  programs talk to a person
from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_private import KerasHook, TFECluster, TFEWorker
from keras_private.lowering import array, lowers, secret


class Clip(keras.layers.Layer):
    """min(max(x, low), high), with a low and a high for each channel."""

    def build(self, shape: Any) -> None:
        self.low = self.add_weight(shape=(shape[-1],), initializer=keras.initializers.Constant(-0.5), name="low")
        self.high = self.add_weight(shape=(shape[-1],), initializer=keras.initializers.Constant(0.5), name="high")

    def call(self, x: Any) -> Any:
        return keras.ops.minimum(keras.ops.maximum(x, self.low), self.high)


@lowers(Clip)
def lower_clip(prot: Any, layer: Any, x: Any) -> Any:
    """low + relu(x - low) - relu(x - high): two comparisons."""
    low, high = array(layer.low), array(layer.high)
    above_low = prot.relu(prot.sub(x, secret(prot, low, "low")))
    above_high = prot.relu(prot.sub(x, secret(prot, high, "high")))
    return prot.add(prot.sub(above_low, above_high), secret(prot, low, "low"))


def model() -> Any:
    x = keras.Input((4,))
    return keras.Model(x, keras.layers.Dense(3)(Clip()(keras.layers.Dense(5)(x))))


def main() -> None:
    KerasHook(keras)
    plain = model()
    x = np.random.default_rng(1).normal(size=(3, 4))
    with TFECluster(TFEWorker(), TFEWorker(), TFEWorker()) as cluster, plain.share(cluster):  # all in this process
        plain.private_summary()
        client = TFEWorker()
        client.connect_to_model((3, 4), (3, 3), cluster)
        client.query_model_async(x)
        plain.serve(num_requests=1)
        print("private:", *np.round(client.query_model_join(), 3), sep="\n  ")
        print("plain:", *np.round(plain(x), 3), sep="\n  ")


if __name__ == "__main__":
    main()
