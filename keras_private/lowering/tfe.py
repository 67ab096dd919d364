"""The one place that imports TF Encrypted.

TF Encrypted 0.9.1 was written for TensorFlow 2.9 and imports three names that current packages no longer have. They
are lent to it for the length of its import and taken back, so that nobody else sees them. It also warns four times
about custom operations, which nothing here uses, and places its own ABY3 on the global protocol slot, which is left
as TF Encrypted made it. Importing it initialises TensorFlow's context, so it is imported when a model is shared, not
before.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from keras_private.errors import ConfigError

_lock = threading.Lock()


def load() -> Any:
    """The `tf_encrypted` module.

    Raises:
        ConfigError: it or TensorFlow is not installed; says what to install.
    """
    with _lock:
        loaded = sys.modules.get("tf_encrypted")
        if loaded is not None and hasattr(loaded, "__all_prot_funcs__"):  # complete, not half imported
            return loaded
        if importlib.util.find_spec("tf_encrypted") is None or importlib.util.find_spec("tensorflow") is None:
            raise ConfigError("sharing a model needs TensorFlow and TF Encrypted: pip install 'keras-private[owner]'")
        with _lent_modules(), _lent_tensorflow_name(), _quiet():
            import tf_encrypted
        return tf_encrypted


@contextmanager
def _lent_modules() -> Iterator[None]:
    import onnx  # type: ignore[import-untyped,unused-ignore]

    lent: dict[str, ModuleType] = {"pkg_resources": _pkg_resources()}
    if importlib.util.find_spec("onnx.mapping") is None:
        mapping: Any = ModuleType("onnx.mapping")
        types = onnx.TensorProto.DataType.values()
        mapping.TENSOR_TYPE_TO_NP_TYPE = {
            number: onnx.helper.tensor_dtype_to_np_dtype(number)
            for number in types
            if number in onnx.helper.get_all_tensor_dtypes()
        }
        lent["onnx.mapping"] = mapping
    before = {name: sys.modules.get(name) for name in lent}
    sys.modules.update(lent)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module


def _pkg_resources() -> ModuleType:
    """What TF Encrypted asks of setuptools' old module: the version and place of an installed distribution."""

    class DistributionNotFound(Exception):  # noqa: N818  the name that is imported
        pass

    def get_distribution(name: str) -> SimpleNamespace:
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError as error:
            raise DistributionNotFound(name) from error
        return SimpleNamespace(version=found.version, location=str(Path(str(found.locate_file("")))))

    module: Any = ModuleType("pkg_resources")
    module.DistributionNotFound = DistributionNotFound
    module.get_distribution = get_distribution
    return module  # type: ignore[no-any-return]


@contextmanager
def _lent_tensorflow_name() -> Iterator[None]:
    from tensorflow.python.ops import while_v2

    missing = not hasattr(while_v2, "glob_stateful_parallelism")
    if missing:
        while_v2.glob_stateful_parallelism = False
    try:
        yield
    finally:
        if missing:
            del while_v2.glob_stateful_parallelism


@contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("tf_encrypted")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
