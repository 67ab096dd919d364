"""Which model a client is to be connected to: of what shapes, whose, which plan, and in which cluster."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from keras_private.client.checks import check_model
from keras_private.client.session import Session
from keras_private.client.shapes import Shapes, check_shapes
from keras_private.config import ClusterConfig
from keras_private.errors import KerasPrivateError, RefusedError, StateError
from keras_private.net.roles import Role
from keras_private.party.messages import Description
from keras_private.party.network import Network


class Cluster(Protocol):
    """What a client needs to know of a cluster (`TFECluster`)."""

    @property
    def config(self) -> ClusterConfig: ...
    @property
    def owner(self) -> Role: ...
    @property
    def replicas(self) -> Sequence[Cluster]: ...
    def network(self, role: Role) -> Network: ...


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """The model that is meant. `closed` is set when it is not meant any more, which ends every pause."""

    cluster: Cluster
    input_shapes: Shapes | None
    output_shapes: Shapes | None
    owner: str | None
    """The name of the owner whose model it must be; None: anybody's."""
    digest: str | None
    """Which plan it must be; None: any."""
    model: str = ""
    """What its owner calls it; empty: the default model."""
    closed: threading.Event = field(default_factory=threading.Event)

    def open(self, role: Role, seconds: float) -> Session:
        """A session with this model. Raises as `Client.connect_to_model`."""
        session = Session.open(self.cluster.network(role), self.cluster.config, self.model, seconds)
        try:
            self.check(session.model)
        except KerasPrivateError:
            session.close(closed())
            raise
        return session

    def pinned(self, model: Description) -> Target:
        """This very model: its owner, plan and name."""
        return replace(self, owner=model.owner, digest=model.digest, model=model.name)

    def fits(self, model: Description) -> bool:
        """Whether it is the model that is meant."""
        try:
            self.check(model)
        except KerasPrivateError:
            return False
        return True

    def check(self, model: Description) -> None:
        """Make sure that it is the model that is meant. Raises as `Client.connect_to_model`."""
        check_model(model)
        check_shapes("input", self.input_shapes, model.inputs)
        check_shapes("output", self.output_shapes, model.results)
        if self.owner not in (None, model.owner):
            raise RefusedError(
                f"the model belongs to owner {model.owner!r}, and that of {self.owner!r} is wanted; ask that owner, or "
                "call connect_to_model again if the other one is right"
            )
        if self.digest not in (None, model.digest):
            raise RefusedError(
                f"the parties hold plan {model.digest}, and {self.digest} is wanted; ask the owner for the digest that "
                "share() printed, or call connect_to_model again if the other model is right"
            )


def closed() -> StateError:
    """Why a query ends whose client was closed."""
    return StateError("this client was closed while a query was waiting")
