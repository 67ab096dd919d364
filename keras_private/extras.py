"""What is installed beyond a client.

`pip install keras-private` is a client, and the commands `certs` and `status`. The extra `party` adds what computes on
shares, `owner` adds Keras, `plot` pictures. Whatever needs one of them asks here first, so that a missing one is told
before anything starts, and by its name.
"""

from __future__ import annotations

import importlib.util
from typing import Final, Literal

from keras_private.errors import ConfigError

Extra = Literal["party", "owner", "plot"]

MODULES: Final[dict[Extra, tuple[str, ...]]] = {
    "party": ("numba", "prometheus_client", "structlog"),
    "owner": ("keras", "tensorflow", "tf_encrypted"),
    "plot": ("matplotlib",),
}
"""Per extra, the modules that must be there (an owner needs the party's too, for parties on this machine)."""


def require(extra: Extra, what: str) -> None:
    """Make sure that an extra is installed; imports nothing.

    Args:
        what: who needs it, as the subject of a sentence.

    Raises:
        ConfigError: it is not; names the modules and the command that installs them.
    """
    missing = [name for name in MODULES[extra] if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{what} needs {', '.join(missing)}, which this installation lacks: pip install 'keras-private[{extra}]'"
        )
