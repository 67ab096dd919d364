"""The 784-500-10 network of PySyft's tutorial on secure evaluation, on MNIST.

python examples/models/mnist_mlp.py                 # a minute or two; --rows 200 --epochs 1 for a first look
"""

from __future__ import annotations

import argparse

import keras
from agreement import compare
from data import digits


def build() -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            layers.Flatten(),
            layers.Dense(500, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ],
        name="mnist_mlp",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="test images that are queried")
    parser.add_argument("--epochs", type=int, default=5)
    args = parser.parse_args()
    keras.utils.set_random_seed(1)
    (x, y), (u, v) = digits()
    model = build()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=128, epochs=args.epochs, verbose=0)
    print(f"{model.name}: {len(x):,} training images, {args.rows:,} test images")
    compare(model, u[: args.rows], v[: args.rows], input_range=(0, 1), calibration=x[:200], activation="softmax")


if __name__ == "__main__":
    main()
