"""Three connected parties for the protocol tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from .three import Three

settings.register_profile("keras_private", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("keras_private")


@pytest.fixture(scope="module")
def three() -> Iterator[Three]:
    """Three parties over in-memory links."""
    parties = Three()
    yield parties
    parties.close()
