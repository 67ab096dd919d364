"""The whole story in one command: `serve.py` and `client.py` as processes of their own, then a look at the plain model.

python demo.py                        # or: make demo, which installs everything first
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from client import Array, load_sample
from console import open_standard_streams, say
from serve import quiet_stderr

HERE = Path(__file__).resolve().parent
READY_SECONDS, STOP_SECONDS = 180, 60

Command = list[str | Path]


class Server:
    """A running `serve.py`: what it prints is echoed here, what it writes to stderr only when it fails."""

    def __init__(self, config: Path, model: Path, num_requests: int, stderr: IO[bytes]) -> None:
        command: Command = [sys.executable, "-u", HERE / "serve.py", "--config", config, "--model", model]
        command += ["--num-requests", str(num_requests)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)  # noqa: S603
        self._stderr = stderr
        self._ready = threading.Event()  # also set at the end of its output, so that waiting ends with the process
        self._is_ready = False
        self._last_lines: list[str] = []
        self._echo = threading.Thread(target=self._read, daemon=True)
        self._echo.start()

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101
        for line in self._process.stdout:
            shown = f"  serve.py  | {line.rstrip()}"
            if self._is_ready:
                self._last_lines.append(shown)  # not now: they would fall between the client's
                continue
            say(shown)
            if line.startswith("Ready"):
                self._is_ready = True
                self._ready.set()
        self._ready.set()

    def wait_until_ready(self) -> None:
        self._ready.wait(READY_SECONDS)
        if not self._is_ready:
            raise SystemExit(f"demo.py: serve.py did not get ready.\n{self._complaints()}")

    def wait_until_done(self) -> None:
        if self._process.wait(STOP_SECONDS) != 0:
            raise SystemExit(f"demo.py: serve.py failed.\n{self._complaints()}")
        self._echo.join(STOP_SECONDS)
        for line in self._last_lines:
            say(line)

    def close(self) -> None:
        """End the process if it still runs. It tidies up on SIGTERM."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(STOP_SECONDS)
        self._echo.join(STOP_SECONDS)

    def _complaints(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace").strip()


@contextlib.contextmanager
def server(config: Path, model: Path, num_requests: int) -> Iterator[Server]:
    with tempfile.TemporaryFile() as stderr:
        running = Server(config, model, num_requests, stderr)
        try:
            yield running
        finally:
            running.close()


def ask_privately(config: Path, model: Path, images: int) -> tuple[Array, list[float]]:
    """Run the owner's and the client's scripts; return the client's logits (images, 10) and seconds a query."""
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "answers.npz"
        say("1. The owner shares the model with three parties")
        with server(config, model, images) as owner:
            owner.wait_until_ready()
            say(f"\n2. A client asks about {images} images of MNIST's test set")
            command: Command = [sys.executable, HERE / "client.py", "--config", config, "--save", saved]
            command += ["--images", str(images)]
            if subprocess.run(command, check=False).returncode != 0:  # noqa: S603
                raise SystemExit("demo.py: client.py failed.")
            owner.wait_until_done()
        with np.load(saved, allow_pickle=False) as answers:
            return answers["logits"], list(answers["seconds"])


def ask_plainly(model_file: Path, images: Array, timed: int = 20) -> tuple[Array, list[float]]:
    """Run the plain model on the same images; return its logits and seconds a `model.predict` of one image."""
    with quiet_stderr():
        import tensorflow as tf

        model = tf.keras.models.load_model(model_file)
        logits = model.predict(images, verbose=0)
        model.predict(images[:1], verbose=0)
    seconds = []
    for i in range(timed):
        began = time.perf_counter()
        model.predict(images[i % len(images)][None], verbose=0)
        seconds.append(time.perf_counter() - began)
    return logits, seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=HERE / "cluster.yaml", help="the three parties (cluster.yaml)")
    parser.add_argument("--model", type=Path, default=HERE / "models" / "mnist_cnn.keras", help="the model to serve")
    parser.add_argument("--images", type=int, default=100, metavar="N", help="how many test images (default: 100)")
    args = parser.parse_args()
    open_standard_streams()
    images, _ = load_sample(HERE / "models" / "mnist_sample.npz", args.images)

    try:
        private, private_seconds = ask_privately(args.config, args.model, args.images)
        say("\n3. The same images with the plain model")
        plain, plain_seconds = ask_plainly(args.model, images)
    except KeyboardInterrupt:
        say("Stopped; nothing is left running.")
        return 130
    same = int((private.argmax(axis=1) == plain.argmax(axis=1)).sum())
    say(f"same prediction, private and plain:  {same} of {len(images)}")
    say(f"largest difference of a logit:       {np.abs(private - plain).max():.6f}")
    say(f"median time of a private query:      {1e3 * statistics.median(private_seconds):.1f} ms")
    say(f"median time of model.predict:        {1e3 * statistics.median(plain_seconds):.1f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
