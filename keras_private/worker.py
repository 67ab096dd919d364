"""TFEWorker: the handle of one party, or a client that queries a served model. Needs no TensorFlow.

client = TFEWorker()
client.connect_to_model((1, 28, 28, 1), (1, 10), cluster)
logits = client.query_model(images)          # images: (batch, 28, 28, 1), logits: float32 (batch, 10)
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Self

from keras_private.client.client import QUERY_TIMEOUT_S, Client
from keras_private.client.target import Cluster
from keras_private.config import PARTY_NAMES, parse_host
from keras_private.errors import ConfigError, StateError


class TFEWorker(Client):
    """One worker.

    Args:
        host: "host:port" of the party this is a handle of; None makes it a client, or, where it is given to a
            `TFECluster`, a party within this process.
        auto_managed: whether `TFECluster.start` runs the party on this machine; otherwise it prints the command that
            runs it on its own host.
        name: a client's name, see `Client`.
        timeout: seconds that a client's query may wait for its answer.

    Raises:
        ConfigError: `host` or `name` is malformed, or `auto_managed` without a host.
        InputError: the timeout is not a number of seconds.
    """

    def __init__(
        self,
        host: str | None = None,
        auto_managed: bool = False,
        *,
        name: str = "client",
        timeout: float = QUERY_TIMEOUT_S,
    ) -> None:
        if host is not None:
            try:
                parse_host(host)
            except (TypeError, ValueError) as error:
                raise ConfigError(f"a worker's host is wrong: {error}") from None
        elif auto_managed:
            raise ConfigError(
                "auto_managed=True needs a host, as in TFEWorker(host='localhost:4000', auto_managed=True)"
            )
        super().__init__(name, timeout)
        self.host = host
        self.auto_managed = bool(auto_managed)

    def __repr__(self) -> str:
        if self.host:
            return f"TFEWorker(host={self.host!r}, auto_managed={self.auto_managed})"
        return super().__repr__()

    def command(self, index: int, config: str = "cluster.yaml") -> str:
        """What to run on the host of party `index`, where the cluster's file lies at `config`."""
        return f"keras-private party --config {shlex.quote(config)} --name {PARTY_NAMES[index]}"

    def connect_to_model(
        self,
        input_shape: Iterable[float],
        output_shape: Iterable[float],
        cluster: Cluster,
        *,
        owner: str | None = None,
        digest: str | None = None,
    ) -> Self:
        """As `Client.connect_to_model`; a party's handle connects to none.

        Raises:
            StateError: this worker is a party's handle. Else as `Client.connect_to_model`.
        """
        if self.host is not None:
            raise StateError(
                f"this worker stands for the party at {self.host}; a client is a TFEWorker() without a host"
            )
        return super().connect_to_model(input_shape, output_shape, cluster, owner=owner, digest=digest)
