"""TFEWorker: what a cluster is made of, and the way to a client. Needs no TensorFlow.

client = TFEWorker()
client.connect_to_model((1, 28, 28, 1), (1, 10), cluster)
logits = client.query_model(images)          # images: (batch, 28, 28, 1), logits: float32 (batch, 10)
"""

from __future__ import annotations

import shlex
from typing import Any, overload

from keras_private.client.client import QUERY_TIMEOUT_S, Client
from keras_private.config import CLUSTER_FILE, PARTY_NAMES, parse_host
from keras_private.errors import ConfigError


class TFEWorker:
    """The handle of one party: where it is, and who starts it. Without a host it is a `LocalWorker`, a client too.

    Args:
        host: "host:port" of the party; None: a `LocalWorker`.
        auto_managed: whether `TFECluster.start` runs the party on this machine; otherwise it prints the command that
            runs it on its own host.
        name, timeout: of a client, see `Client`; a party's handle has none.

    Raises:
        ConfigError: `host` or `name` is malformed, or one of the others does not go with it.
        InputError: the timeout is not a number of seconds.
    """

    host: str | None
    auto_managed: bool

    @overload
    def __new__(
        cls, host: None = None, auto_managed: bool = False, *, name: str = "client", timeout: float = QUERY_TIMEOUT_S
    ) -> LocalWorker: ...
    @overload
    def __new__(cls, host: str, auto_managed: bool = False) -> TFEWorker: ...
    def __new__(
        cls,
        host: str | None = None,
        auto_managed: bool = False,
        *,
        name: str = "client",
        timeout: float = QUERY_TIMEOUT_S,
    ) -> TFEWorker:
        if host is None:
            if auto_managed:
                raise ConfigError(
                    "auto_managed=True needs a host, as in TFEWorker(host='localhost:4000', auto_managed=True)"
                )
            worker: TFEWorker = super().__new__(LocalWorker)
        else:
            try:
                parse_host(host)
            except (TypeError, ValueError) as error:
                raise ConfigError(f"a worker's host is wrong: {error}") from None
            if (name, timeout) != ("client", QUERY_TIMEOUT_S):
                raise ConfigError(
                    f"name and timeout are a client's, and this worker stands for the party at {host}; a client is a "
                    "TFEWorker() without a host"
                )
            worker = super().__new__(cls)
        worker.host = host
        worker.auto_managed = bool(auto_managed)
        return worker

    def __getnewargs__(self) -> tuple[Any, ...]:
        """What a copy is made with: without a host it would become a client."""
        return (self.host, self.auto_managed)

    def __repr__(self) -> str:
        return f"TFEWorker(host={self.host!r}, auto_managed={self.auto_managed})"

    def command(self, index: int, config: str = CLUSTER_FILE, replica: int = 0) -> str:
        """What to run on the host of party `index` of a replica, where the cluster's file lies at `config`."""
        which = f" --replica {replica}" if replica else ""
        return f"keras-private party --config {shlex.quote(config)} --name {PARTY_NAMES[index]}{which}"


class LocalWorker(TFEWorker, Client):
    """What `TFEWorker()` gives: a `Client`; or, where it is given to a `TFECluster`, a party within this process."""

    def __init__(
        self,
        host: None = None,  # noqa: ARG002  a TFEWorker's arguments
        auto_managed: bool = False,  # noqa: ARG002
        *,
        name: str = "client",
        timeout: float = QUERY_TIMEOUT_S,
    ) -> None:
        Client.__init__(self, name, timeout)

    def __repr__(self) -> str:
        return f"TFEWorker(<{'connected' if self.connected else 'not connected'}>)"
