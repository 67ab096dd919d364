"""Ctrl-C where people press it: in a notebook's kernel and in a terminal, while a model is served."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

from tests.processes import ROOT, SECONDS, Script, clean_environment

pytestmark = pytest.mark.slow

SHARE = """
import keras, keras_private as kp
kp.KerasHook(keras)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
cluster = kp.TFECluster(kp.TFEWorker(), kp.TFEWorker(), kp.TFEWorker()).start()
model.share(cluster)
"""
SERVE = "print('\\nthen', model.serve(), flush=True)"
TELL = """
import threading, time
def tell():
    while not any(model.state == "serving" for model in cluster.status()["server0"].models):
        time.sleep(0.01)
    print("\\nit serves", flush=True)
threading.Thread(target=tell).start()
"""
STOP = "model.stop(); cluster.stop(); print('stopped', flush=True)"


class Kernel:
    """A notebook's kernel."""

    def __init__(self, env: dict[str, str]) -> None:
        self._manager = KernelManager()
        self._manager.start_kernel(cwd=str(ROOT), env=env | {"PYTHONPATH": str(ROOT)})
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(SECONDS)

    def run(self, cell: str, interrupt_at: str = "") -> tuple[str, str]:
        """Run a cell, and press "interrupt" once it has printed a text; its status and all that it printed."""
        pressed, printed = not interrupt_at, ""

        def hear(message: dict[str, Any]) -> None:
            nonlocal pressed, printed
            if message["msg_type"] == "stream":
                printed += message["content"]["text"]
            if not pressed and interrupt_at in printed:
                pressed = True
                self._manager.interrupt_kernel()

        reply = self._client.execute_interactive(cell, timeout=SECONDS, output_hook=hear)
        return reply["content"]["status"], printed

    def end(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    found = Kernel(clean_environment(tmp_path))
    yield found
    found.end()


def test_in_a_notebook(kernel: Kernel) -> None:
    status, printed = kernel.run(SHARE)
    assert status == "ok", printed
    for _ in range(2):  # the second one does as the first did
        status, printed = kernel.run(SERVE, interrupt_at="served 0")
        assert status == "ok", printed
        assert "then 0\n" in printed
    assert kernel.run(STOP) == ("ok", "stopped\n")


def test_in_a_terminal(tmp_path: Path) -> None:
    program = "\n".join([SHARE, TELL, SERVE, TELL, SERVE, STOP])
    script = Script([sys.executable, "-c", program], clean_environment(tmp_path, PYTHONPATH=str(ROOT)))
    try:
        for _ in range(2):
            script.wait_for("it serves")
            script.interrupt()
            script.wait_for("then 0")
        assert script.finish() == 0
        assert script.lines[-1] == "stopped"
        assert "Traceback" not in script.text
    finally:
        script.kill()
