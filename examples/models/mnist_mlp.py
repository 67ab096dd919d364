"""The 784-500-10 network of PySyft's tutorial on secure evaluation, on MNIST.

python examples/models/mnist_mlp.py                 # a minute or two; --rows 200 --epochs 1 for a first look
"""

from __future__ import annotations

import argparse
import time

import keras
from agreement import compare, served
from data import digits

import keras_private as kp


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
    # As in the tutorial: nobody sees images or labels, nor how a single one does; the client is told one number.
    with served(model, input_range=(0, 1), evaluation="client") as cluster, kp.TFEWorker() as client:
        client.connect_to_model(cluster)
        began = time.perf_counter()
        score = client.evaluate_model(u[: args.rows], v[: args.rows], batch=50)
        each = 1e3 * (time.perf_counter() - began) / score.rows
        print(f"evaluated privately, 50 at a time: {score}; {each:.2f} ms an image")


if __name__ == "__main__":
    main()
