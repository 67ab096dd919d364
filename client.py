"""Ask the model that `serve.py` serves about real MNIST test images. The images leave this process only as shares.

    python client.py                      # ten images, one query each
    python client.py --images 100 --batch 10

Needs no TensorFlow. Every option has a default; see `python client.py --help`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import keras_private as kp
from console import complain, open_standard_streams, say

HERE = Path(__file__).resolve().parent
INPUT_SHAPE, OUTPUT_SHAPE = (1, 28, 28, 1), (1, 10)

Array = np.ndarray[Any, np.dtype[Any]]


def load_sample(path: Path, count: int) -> tuple[Array, Array]:
    """Return the first `count` images, float32 (count, 28, 28, 1) in [0, 1], and their labels."""
    with np.load(path, allow_pickle=False) as sample:
        images, labels = sample["images"], sample["labels"]
    if not 1 <= count <= len(images):
        raise SystemExit(f"client.py: --images must be from 1 to {len(images)}, the size of {path.name}")
    return images[:count].astype(np.float32) / np.float32(255), labels[:count]


def ask(config: Path, images: Array, labels: Array, batch: int) -> tuple[Array, list[float]]:
    """Query every image and print what came back; return the logits and the seconds each query took."""
    logits: list[Array] = []
    seconds: list[float] = []
    with kp.TFEWorker() as client:  # a worker without a host is a client
        client.connect_to_model(INPUT_SHAPE, OUTPUT_SHAPE, kp.TFECluster.from_yaml(config))
        for start in range(0, len(images), batch):
            began = time.perf_counter()
            answer = client.query_model(images[start : start + batch])
            seconds.append(time.perf_counter() - began)
            logits.append(answer)
            for actual, predicted in zip(labels[start : start + batch], answer.argmax(axis=1), strict=True):
                say(f"Actual: {actual}, predicted: {predicted}")
    return np.concatenate(logits), seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=HERE / "cluster.yaml", help="the three parties (cluster.yaml)")
    parser.add_argument("--images", type=int, default=10, metavar="N", help="how many test images (default: 10)")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images in one query (default: 1)")
    parser.add_argument("--sample", type=Path, default=HERE / "models" / "mnist_sample.npz", help="images and labels")
    parser.add_argument("--save", type=Path, metavar="FILE", help="also write the logits and times to FILE (.npz)")
    args = parser.parse_args()
    if args.batch < 1:
        parser.error("--batch must be at least 1")

    open_standard_streams()
    try:
        images, labels = load_sample(args.sample, args.images)
        logits, seconds = ask(args.config, images, labels, args.batch)
    except (kp.KerasPrivateError, OSError) as error:
        complain(f"client.py: {error}")
        return 1
    right = int((logits.argmax(axis=1) == labels).sum())
    say(f"{right} of {len(labels)} right; median {1e3 * statistics.median(seconds):.1f} ms a query")
    if args.save:
        np.savez(args.save, logits=logits, seconds=seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
