"""Three connected parties for the protocol tests: every test runs over in-memory links and over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from keras_private.net.certificates import create_authority, issue
from keras_private.net.memory import memory_links
from tests.net.conftest import PARTIES, Pairs, tls_links

from .three import Three

settings.register_profile("keras_private", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("keras_private")


@pytest.fixture(scope="module", params=["memory", "tls"])
def three(request: pytest.FixtureRequest) -> Three:
    """Three parties in three threads."""
    parties: Three = request.getfixturevalue(f"{request.param}_three")
    return parties


@pytest.fixture(scope="module")
def tls_three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    """Three parties joined by TLS."""
    folder: Path = tmp_path_factory.mktemp("certificates")
    create_authority(folder)
    credentials = {role: issue(folder, role, ["localhost"]) for role in PARTIES}
    with ThreadPoolExecutor(3) as pool, ExitStack() as closing:
        parties = Three(tls_links(Pairs(credentials, pool, closing), 20.0))
        closing.pop_all()  # the links own the connections now
    yield parties
    parties.close()


@pytest.fixture(scope="module")
def memory_three() -> Iterator[Three]:
    """Three parties over in-memory links, for tests that look at masks and not at the wire."""
    parties = Three(memory_links(timeout=20.0))
    yield parties
    parties.close()
