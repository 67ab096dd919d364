"""limits: what a party accepts."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, field_validator, model_validator

from keras_private.config.sections import Section, no_bool

REQUESTS_IN_MEMORY: Final = 12
"""The least `memory_mb`, in largest requests: a quarter is what a client that is alone may take (`party.budget`), and
a request takes three times its message's size when it is read."""
MOST_LANES: Final = 8
"""Each takes connections of a party's (`party.entrance`)."""


class Limits(Section):
    """What a party accepts. All three parties' files must hold the same numbers."""

    _numbers = field_validator("*", mode="before")(no_bool)

    max_batch: Annotated[int, Field(ge=1, le=65536)] = 128
    """Rows of one query, and of one run of the plan."""
    queue: Annotated[int, Field(ge=1, le=1_000_000)] = 512
    """Requests that may wait; the next is refused. A client alone may fill half of these places."""
    request_mb: Annotated[int, Field(ge=1, le=1000)] = 64
    """Megabytes of one message."""
    model_mb: Annotated[int, Field(ge=1, le=1_048_576)] = 2048
    """Megabytes of one model's shares at a party."""
    owner_mb: Annotated[int, Field(ge=1, le=4_194_304)] | None = None
    """Megabytes of all models of one owner at a party, uploads on their way among them. None: twice `model_mb`, so that
    the largest model can be replaced while its old version is answered."""
    models_mb: Annotated[int, Field(ge=1, le=4_194_304)] | None = None
    """Megabytes of all owners' models at a party. None: twice what one owner may have."""
    memory_mb: Annotated[int, Field(ge=1, le=1_048_576)] = 2048
    """Megabytes that everything else may take at a party: half for runs, half for what clients send and are sent."""
    lanes: Annotated[int, Field(ge=1, le=MOST_LANES)] | None = None
    """Runs side by side; None: as many as cores allow (`ClusterConfig.lanes`)."""
    batch_delay_ms: Annotated[float, Field(ge=0, le=60_000)] = 0.0
    """Milliseconds that a free lane waits for more requests, from the first one's arrival on."""
    drain_s: Annotated[float, Field(ge=0, le=3600)] = 20.0
    """Seconds that a party which is asked to end takes to finish what runs."""
    timeout_s: Annotated[float, Field(gt=0, le=86400)] = 30.0
    """Seconds that a party or a client waits for another before it gives up."""

    @model_validator(mode="after")
    def _memory(self) -> Limits:
        if self.memory_mb < REQUESTS_IN_MEMORY * self.request_mb:
            raise ValueError(
                f"memory_mb ({self.memory_mb}) must be at least {REQUESTS_IN_MEMORY} times request_mb "
                f"({self.request_mb}), or the largest request would find no room"
            )
        return self

    @model_validator(mode="after")
    def _models(self) -> Limits:
        if self.owner_mb is not None and self.owner_mb < self.model_mb:
            raise ValueError(
                f"owner_mb ({self.owner_mb}) must be at least model_mb ({self.model_mb}), or the largest model would "
                "find no room; to replace it while it is served takes twice as much"
            )
        if self.models_mb is not None and self.models_mb * 2**20 < self.owner_bytes:
            raise ValueError(
                f"models_mb ({self.models_mb}) must be at least what one owner may have ({self.owner_bytes // 2**20}: "
                "owner_mb, or twice model_mb)"
            )
        return self

    @property
    def memory_bytes(self) -> int:
        return self.memory_mb * 2**20

    @property
    def request_bytes(self) -> int:
        return self.request_mb * 2**20

    @property
    def model_bytes(self) -> int:
        return self.model_mb * 2**20

    @property
    def owner_bytes(self) -> int:
        return (2 * self.model_mb if self.owner_mb is None else self.owner_mb) * 2**20

    @property
    def models_bytes(self) -> int:
        """Of all owners together."""
        return 2 * self.owner_bytes if self.models_mb is None else self.models_mb * 2**20
