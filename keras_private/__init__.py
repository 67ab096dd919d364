"""Encrypted serving of Keras models: three parties compute on shares, nobody sees the data or the model.

    KerasHook      gives every Keras model share, serve, stop, private_summary, …      [owner]
    TFECluster     the three parties
    TFEWorker      one party's handle; without a host, a client
    Client         a client, by its own name
    AsyncClient    a client for event loops
    check          what would be refused of a model, and what it would cost            [owner]

Names are imported on first use (PEP 562), so that a client or a party never waits for TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_private.client.aio import AsyncClient as AsyncClient
    from keras_private.client.client import Client as Client
    from keras_private.cluster import TFECluster as TFECluster
    from keras_private.errors import ClusterError as ClusterError
    from keras_private.errors import ConfigError as ConfigError
    from keras_private.errors import FrameError as FrameError
    from keras_private.errors import InputError as InputError
    from keras_private.errors import IntegrityError as IntegrityError
    from keras_private.errors import KerasPrivateError as KerasPrivateError
    from keras_private.errors import LinkError as LinkError
    from keras_private.errors import LinkTimeoutError as LinkTimeoutError
    from keras_private.errors import NoModelError as NoModelError
    from keras_private.errors import PartyError as PartyError
    from keras_private.errors import PlanError as PlanError
    from keras_private.errors import PrecisionWarning as PrecisionWarning
    from keras_private.errors import QuotaError as QuotaError
    from keras_private.errors import RangeError as RangeError
    from keras_private.errors import RefusedError as RefusedError
    from keras_private.errors import StartError as StartError
    from keras_private.errors import StateError as StateError
    from keras_private.errors import StorageError as StorageError
    from keras_private.errors import TrustError as TrustError
    from keras_private.errors import UnsupportedModelError as UnsupportedModelError
    from keras_private.hook import KerasHook as KerasHook
    from keras_private.inspection import check as check
    from keras_private.worker import TFEWorker as TFEWorker

    __version__: str

_HOME = {
    "AsyncClient": "client.aio",
    "Client": "client.client",
    "KerasHook": "hook",
    "TFECluster": "cluster",
    "TFEWorker": "worker",
    "check": "inspection",
} | dict.fromkeys(
    (
        "ClusterError",
        "ConfigError",
        "FrameError",
        "InputError",
        "IntegrityError",
        "KerasPrivateError",
        "LinkError",
        "LinkTimeoutError",
        "NoModelError",
        "PartyError",
        "PlanError",
        "PrecisionWarning",
        "QuotaError",
        "RangeError",
        "RefusedError",
        "StartError",
        "StateError",
        "StorageError",
        "TrustError",
        "UnsupportedModelError",
    ),
    "errors",
)

__all__ = [
    "AsyncClient",
    "Client",
    "ClusterError",
    "ConfigError",
    "FrameError",
    "InputError",
    "IntegrityError",
    "KerasHook",
    "KerasPrivateError",
    "LinkError",
    "LinkTimeoutError",
    "NoModelError",
    "PartyError",
    "PlanError",
    "PrecisionWarning",
    "QuotaError",
    "RangeError",
    "RefusedError",
    "StartError",
    "StateError",
    "StorageError",
    "TFECluster",
    "TFEWorker",
    "TrustError",
    "UnsupportedModelError",
    "__version__",
    "check",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value: Any = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    elif name == "__version__":
        value = _version()
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("keras-private")
    except PackageNotFoundError:  # run from a source tree
        return "0+source"
