"""A tabular classifier: is a tumour benign? Scikit-learn's breast cancer set, 30 measurements of very different scale.

The model begins with Normalization, so that a client sends the measurements as they are.

python examples/models/breast_cancer.py             # half a minute
"""

from __future__ import annotations

import argparse

import keras
import numpy as np
from agreement import Array, compare
from sklearn.datasets import load_breast_cancer


def build(x: Array) -> keras.Model:
    layers = keras.layers
    scale = layers.Normalization(name="scale")
    scale.adapt(x)
    return keras.Sequential(
        [
            keras.Input((x.shape[1],), name="measurements"),
            scale,
            layers.Dense(32, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(16, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ],
        name="breast_cancer",
    )


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    keras.utils.set_random_seed(1)
    x, y = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(1).permutation(len(x))
    x, y, cut = x[order].astype(np.float32), y[order], 3 * len(x) // 4
    model = build(x[:cut])
    model.compile("adam", "binary_crossentropy")
    model.fit(x[:cut], y[:cut], batch_size=16, epochs=40, verbose=0)
    print(f"{model.name}: {cut} rows for training, {len(x) - cut} for testing")
    largest = float(np.ceil(x.max()))
    compare(
        model, x[cut:], y[cut:], input_range=(0, largest), calibration=x[:cut], activation="sigmoid", yes_or_no=True
    )


if __name__ == "__main__":
    main()
