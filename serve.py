"""Serve the shipped model privately: three local parties answer queries that none of them can read.

    python serve.py                       # until Ctrl-C
    python serve.py --num-requests 10     # stops by itself after ten queries

Then run `python client.py` in another terminal. Every option has a default; see `python serve.py --help`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import keras_private as kp
from console import complain, open_standard_streams, say

HERE = Path(__file__).resolve().parent


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back what is written to stderr, and show it after all if the block fails (but not on Ctrl-C).

    TensorFlow's C++ side greets every start with a dozen lines about CPUs and missing GPUs, before any setting of its
    own is read; so the file descriptor itself is turned away meanwhile.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except Exception:
            hidden.seek(0)
            with contextlib.suppress(OSError):  # nobody reads it
                os.write(terminal, hidden.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)


def interrupt_on_signals() -> None:
    """Turn SIGINT and SIGTERM into one KeyboardInterrupt; later ones are ignored: nothing cuts the tidying short."""

    def handler(_signum: int, _frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        with contextlib.suppress(OSError):
            os.write(1, b"\nStopping ...\n")  # not print(): the signal may have come in the middle of one
        raise KeyboardInterrupt

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, handler)


def serve(config: Path, model_file: Path, num_requests: int | None) -> None:
    cluster = kp.TFECluster.from_yaml(config)  # first, so that a mistake in it is told at once
    say("Loading TensorFlow and the model ...")
    with quiet_stderr():
        import tensorflow as tf

        kp.KerasHook(tf.keras)  # every Keras model can now be shared, served and stopped
        model = tf.keras.models.load_model(model_file)

    say("Starting three parties ...")
    with cluster:
        for worker in cluster.workers:
            say(f"  {worker.host}")
        say("Sharing the model: each party gets numbers that mean nothing alone ...")
        with model.share(cluster, input_range=(0.0, 1.0)):
            how_many = "until Ctrl-C" if num_requests is None else f"{num_requests} queries"
            say(f"Ready, serving {how_many}. Ask with: python client.py")
            served = model.serve(num_requests=num_requests)  # Ctrl-C ends it, too
            say("All queries served." if served == num_requests else f"{served} queries served.")
    say("Stopped; nothing is left running.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=HERE / "cluster.yaml", help="the three parties (cluster.yaml)")
    parser.add_argument("--model", type=Path, default=HERE / "models" / "mnist_cnn.keras", help="a Keras model file")
    parser.add_argument("--num-requests", type=int, default=None, metavar="N", help="stop after N queries")
    args = parser.parse_args()
    if args.num_requests is not None and args.num_requests < 1:
        parser.error("--num-requests must be at least 1")
    if not args.model.is_file():
        parser.error(f"--model: there is no file {args.model}")

    open_standard_streams()
    interrupt_on_signals()
    try:
        serve(args.config, args.model, args.num_requests)
    except KeyboardInterrupt:
        say("Stopped; nothing is left running.")
    except ModuleNotFoundError as error:
        complain(f"serve.py: {error}; the owner needs TensorFlow: pip install -e '.[owner]'")
        return 1
    except (kp.KerasPrivateError, OSError) as error:
        complain(f"serve.py: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
