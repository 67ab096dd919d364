"""What fractional bits buy: `python -m benchmarks.precision` draws docs/precision.png and prints the table beside it.

The shipped model at every precision, and a net of sigmoids, which are read from tables: the error of answers as the
parties would round them, in the clear, over handwritten digits that are not among the calibration data; bytes and the
time on a LAN, computing left out, as they are declared.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from keras_private.compiler import Choices, compiled
from keras_private.plan import schedule
from keras_private.plan.evaluate import evaluate
from keras_private.plan.networks import NETWORKS, estimate
from keras_private.plan.plan import Draft
from keras_private.plan.simulate import simulate

ROOT = Path(__file__).resolve().parents[1]
BITS = range(8, 25, 2)
CALIBRATED = 200  # images that the compiler sees


class Figure(NamedTuple):
    """At one precision. error: the largest of a logit, as a part of their range. same: answers of the same class."""

    bits: int
    error: float
    same: int
    rounds: int
    megabytes: float
    lan_ms: float


def figures(model: Any, images: np.ndarray[Any, Any]) -> list[Figure]:
    """Of a model that takes images from 0 to 1, (rows, *shape)."""
    seen, others = images[:CALIBRATED], images[CALIBRATED:].astype(np.float64)
    lan = next(network for network in NETWORKS if network.name == "LAN")
    found = []
    for bits in BITS:
        done = compiled(model, Choices(input_range=(0, 1), calibration=seen), bits)
        plain, answers = evaluate(_recorded(model), others), simulate(done, [others])[0]
        cost = schedule.total(done.plan, 1)
        same = int(np.sum(answers.argmax(axis=1) == plain.argmax(axis=1)))
        error = float(np.abs(answers - plain).max() / np.ptp(plain))
        found.append(Figure(bits, error, same, cost.rounds, sum(cost.sent) / 1e6, 1e3 * estimate(cost, lan)))
    return found


def _recorded(model: Any) -> Draft:
    from keras_private.lowering import draft_of

    return draft_of(model, (0, 1))


def table(made: dict[str, list[Figure]], count: int) -> str:
    """In Markdown."""
    lines = ["| model | fractional bits | largest error, of the range | same class | rounds | bytes | network, LAN |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name, each in made.items():
        lines += [
            f"| {name} | {row.bits} | {row.error:.1g} | {row.same} of {count} | {row.rounds} | "
            f"{row.megabytes:.2f} MB | {row.lan_ms:.1f} ms |"
            for row in each
        ]
    return "\n".join(lines)


def draw(made: dict[str, list[Figure]], path: Path) -> None:
    from matplotlib.figure import Figure as Picture

    picture = Picture(figsize=(9, 3.2), layout="constrained")
    errors, costs = picture.subplots(1, 2)
    for name, each in made.items():
        bits = [row.bits for row in each]
        errors.semilogy(bits, [row.error for row in each], marker="o", label=name)
        costs.plot(bits, [row.megabytes for row in each], marker="o", label=name)
    errors.semilogy(list(BITS), [2.0**-bits for bits in BITS], ":", color="grey", label="one unit")
    errors.set_ylabel("largest error, of the answers' range")
    costs.set_ylabel("MB a query, all parties")
    costs.set_ylim(bottom=0)
    for panel in (errors, costs):
        panel.set_xlabel("precision_fractional")
        panel.grid(alpha=0.3)
    errors.legend(fontsize=8)
    picture.savefig(path, dpi=90)


def sigmoids(shape: tuple[int, ...], images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> Any:
    """A small net of sigmoids, trained on the images."""
    import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input(shape), layers.Flatten(), *(layers.Dense(64, "sigmoid") for _ in range(2)), layers.Dense(10)]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images, labels, epochs=30, batch_size=32, verbose=0)
    return model


def main() -> None:
    import keras

    with np.load(ROOT / "models" / "mnist_sample.npz") as sample:
        images, labels = sample["images"], sample["labels"]
    shipped = keras.models.load_model(ROOT / "models" / "mnist_cnn.keras", compile=False)
    images = images.reshape(len(images), *shipped.input_shape[1:]) / 255.0
    made = {
        "shipped model (ReLU)": figures(shipped, images),
        "784-64-64-10, sigmoid": figures(sigmoids(images.shape[1:], images, labels), images),
    }
    draw(made, ROOT / "docs" / "precision.png")
    print(table(made, len(images) - CALIBRATED))


if __name__ == "__main__":
    main()
