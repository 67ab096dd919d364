"""Rows of a table."""

from __future__ import annotations

from .case import Case, layer

CASES: tuple[Case, ...] = (layer("Embedding", (4,), 5, 3, whole=(0, 4)),)
