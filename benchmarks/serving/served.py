"""Three parties in processes of their own and the shipped model, being served."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]


class Served(NamedTuple):
    """`config`: the path of its cluster.yaml."""

    config: Path
    cluster: Any
    model: Any

    @property
    def parties(self) -> dict[str, psutil.Process]:
        """The processes, by name of the party: of now, since one that dies is started again."""
        return {name: psutil.Process(pid) for name, pid in self.cluster.pids.items()}

    def cpu_seconds(self) -> dict[str, float]:
        """What each party has used of the processors up to now."""
        return {name: sum(party.cpu_times()[:2]) for name, party in self.parties.items()}


@contextlib.contextmanager
def shipped_model(folder: Path, **limits: float) -> Iterator[Served]:
    """Serve it until the end of the block.

    Args:
        folder: for cluster.yaml.
        limits: what `limits` of cluster.yaml says, where it is not the default.
    """
    import tensorflow as tf

    import keras_private as kp

    kp.KerasHook(tf.keras)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "cluster.yaml"
    line = "  server{}: {{host: localhost:{}, auto_managed: true}}\n"
    text = "parties:\n" + "".join(line.format(index, port) for index, port in enumerate(free_ports(3)))
    if limits:
        text += "limits: {" + ", ".join(f"{name}: {value}" for name, value in limits.items()) + "}\n"
    path.write_text(text)
    cluster = kp.TFECluster.from_yaml(path).start()
    try:
        model = tf.keras.models.load_model(ROOT / "models" / "mnist_cnn.keras")
        model.share(cluster, input_range=(0.0, 1.0), verbose=0)
        serving = threading.Thread(target=model.serve, kwargs={"verbose": 0}, daemon=True)
        serving.start()
        yield Served(path, cluster, model)
        model.stop()
        serving.join(30)
    finally:
        cluster.stop()
