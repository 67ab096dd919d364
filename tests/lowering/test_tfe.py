"""TF Encrypted is imported on current packages, quietly, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys

from keras_private import TFECluster, TFEWorker
from keras_private.lowering import tfe

QUIET = """
import logging, sys
records = []
class Keep(logging.Handler):
    def emit(self, record):
        records.append(record)
logging.getLogger("tf_encrypted").addHandler(Keep())
from keras_private import TFECluster, TFEWorker
from keras_private.lowering import tfe
assert "tensorflow" not in sys.modules and "tf_encrypted" not in sys.modules
before = set(sys.modules)
library = tfe.load()
assert library.__version__.startswith("0."), library.__version__
assert not records, records
assert "pkg_resources" not in sys.modules and "onnx.mapping" not in sys.modules
from tensorflow.python.ops import while_v2
assert not hasattr(while_v2, "glob_stateful_parallelism")
assert tfe.load() is library
"""


def test_import_is_quiet_and_leaves_nothing_behind() -> None:
    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def test_protocols_are_there() -> None:
    library = tfe.load()
    assert issubclass(library.protocol.ABY3, library.protocol.Protocol)


def test_a_clusters_players() -> None:
    workers = [TFEWorker(host=f"localhost:{port}") for port in (4000, 4001, 4002)]
    config = TFECluster(*workers).tfe_config
    assert isinstance(config, tfe.load().RemoteConfig)
    assert [(player.name, player.host) for player in config.players] == [
        ("server0", "localhost:4000"),
        ("server1", "localhost:4001"),
        ("server2", "localhost:4002"),
    ]
