"""What a client loads is what `pip install keras-private` installs; what is missing is named."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from keras_private.cluster import TFECluster
from keras_private.errors import ConfigError
from keras_private.extras import MODULES, Extra, require
from keras_private.worker import TFEWorker

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LISTED: dict[Extra, set[str]] = {
    extra: {re.split(r"[>\[]", each)[0].replace("-", "_") for each in PROJECT["optional-dependencies"][extra]}
    - {"keras_private"}
    for extra in MODULES
}


def test_the_modules_asked_for_are_those_that_are_installed() -> None:
    assert {extra: set(names) for extra, names in MODULES.items()} == LISTED


@pytest.mark.parametrize("extra", MODULES)
def test_a_missing_module_is_named(extra: Extra, monkeypatch: pytest.MonkeyPatch) -> None:
    require(extra, "this test")  # nothing is missing
    monkeypatch.setitem(sys.modules, MODULES[extra][0], None)
    with pytest.raises(ConfigError, match=rf"this test needs {MODULES[extra][0]}, .* 'keras-private\[{extra}\]'"):
        require(extra, "this test")


def test_a_cluster_says_so_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    cluster = TFECluster(TFEWorker(), TFEWorker(), TFEWorker())
    with pytest.raises(ConfigError, match=r"a party on this machine needs numba"):
        cluster.start()
    assert not cluster.started


def test_clients_and_the_command_load_nothing_else() -> None:
    """With the extras' modules blocked, a client's names, the command and a query's code can be imported."""
    others = [*MODULES["party"], *MODULES["owner"], "llvmlite", "tf_keras"]
    code = f"import sys; sys.modules.update(dict.fromkeys({others}))\n"
    code += "import keras_private as kp, keras_private.cli\n"
    code += "kp.TFEWorker, kp.TFECluster.from_yaml, kp.KerasHook"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
