"""LeNet-5 with tanh, on MNIST: LeCun et al., "Gradient-based learning applied to document recognition", 1998.

Every tanh is read from a table by the parties, and nobody learns at which place.

python examples/models/lenet5.py                    # some minutes; --rows 200 --train 6000 --epochs 1 for a first look
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
            layers.Conv2D(6, 5, padding="same", activation="tanh"),
            layers.AveragePooling2D(2),
            layers.Conv2D(16, 5, activation="tanh"),
            layers.AveragePooling2D(2),
            layers.Conv2D(120, 5, activation="tanh"),
            layers.Flatten(),
            layers.Dense(84, activation="tanh"),
            layers.Dense(10, activation="softmax"),
        ],
        name="lenet5",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000, help="test images that are queried")
    parser.add_argument("--train", type=int, default=60_000, help="training images")
    parser.add_argument("--epochs", type=int, default=4)
    args = parser.parse_args()
    keras.utils.set_random_seed(1)
    (x, y), (u, v) = digits(args.train)
    model = build()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=128, epochs=args.epochs, verbose=0)
    print(f"{model.name}: {len(x):,} training images, {args.rows:,} test images")
    compare(model, u[: args.rows], v[: args.rows], input_range=(0, 1), calibration=x[:100], activation="softmax")


if __name__ == "__main__":
    main()
