"""A small U-Net: which pixels are ink? MNIST digits written across photographs.

Ronneberger, Fischer and Brox, "U-Net", 2015, with two levels. The photographs are those that scikit-learn ships.

python examples/models/segmentation.py              # some minutes; --rows 20 --train 2000 --epochs 1 for a first look
"""

from __future__ import annotations

import argparse
from typing import Any

import keras
import numpy as np
from agreement import Array, compare
from data import digits
from sklearn.datasets import load_sample_images

SIZE, INK = 32, 0.5


def over_photographs(images: Array, seed: int) -> tuple[Array, Array]:
    """float32 pictures (n, 32, 32, 3) in [0, 1] with a digit somewhere in them, and which pixels are its ink."""
    random = np.random.default_rng(seed)
    photographs = [photo.astype(np.float32) / 255 for photo in load_sample_images().images]
    pictures = np.empty((len(images), SIZE, SIZE, 3), np.float32)
    masks = np.zeros((len(images), SIZE, SIZE, 1), bool)
    for picture, mask, image in zip(pictures, masks, images, strict=True):
        photo = photographs[random.integers(len(photographs))]
        top, left = (random.integers(size - SIZE) for size in photo.shape[:2])
        down, right = random.integers(SIZE - image.shape[0] + 1, size=2)
        ink = np.zeros((SIZE, SIZE, 1), np.float32)
        ink[down : down + image.shape[0], right : right + image.shape[1]] = image
        picture[:] = photo[top : top + SIZE, left : left + SIZE] * (1 - ink) + ink * random.uniform(0, 1, 3)
        mask[:] = ink > INK
    return pictures, masks


def build() -> keras.Model:
    layers = keras.layers

    def twice(x: Any, filters: int) -> Any:
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization()(x))
        return x

    given = keras.Input((SIZE, SIZE, 3), name="picture")
    fine = twice(given, 8)
    middle = twice(layers.MaxPooling2D(2)(fine), 16)
    coarse = twice(layers.MaxPooling2D(2)(middle), 32)
    up = layers.Conv2DTranspose(16, 2, strides=2)(coarse)
    up = twice(layers.Concatenate()([middle, up]), 16)
    up = layers.UpSampling2D(interpolation="bilinear")(up)
    up = twice(layers.Concatenate()([fine, up]), 8)
    return keras.Model(given, layers.Conv2D(1, 1, activation="sigmoid")(up), name="segmentation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100, help="test pictures that are queried")
    parser.add_argument("--train", type=int, default=6_000, help="training pictures")
    parser.add_argument("--epochs", type=int, default=4)
    args = parser.parse_args()
    keras.utils.set_random_seed(1)
    (x, _), (u, _) = digits(args.train)
    pictures, masks = over_photographs(x, 1)
    model = build()
    model.compile("adam", "binary_crossentropy")
    model.fit(pictures, masks, batch_size=64, epochs=args.epochs, verbose=0)
    print(f"{model.name}: {len(x):,} training pictures, {args.rows} test pictures of {SIZE} x {SIZE} pixels")
    u, v = over_photographs(u[: args.rows], 2)
    compare(model, u, v, input_range=(0, 1), calibration=pictures[:50], activation="sigmoid", yes_or_no=True, batch=10)


if __name__ == "__main__":
    main()
