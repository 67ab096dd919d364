"""metrics: where a party shows its metrics and its health."""

from __future__ import annotations

from pydantic import field_validator

from keras_private.config.parties import parse_endpoint
from keras_private.config.sections import Section


class MetricsConfig(Section):
    """`host`: address and port, on its own host, of every party that has none of its own for it."""

    host: str

    @field_validator("host")
    @classmethod
    def _host(cls, value: str) -> str:
        parse_endpoint(value)
        return value
