from __future__ import annotations

import pytest

from keras_private.errors import ConfigError
from keras_private.net.roles import Role


@pytest.mark.parametrize("text", ["party:server0", "owner:alice", "client:b.o_b-2"])
def test_roles_read_back(text: str) -> None:
    role = Role.parse(text)
    assert str(role) == text
    assert Role.from_uris(["https://example.org", role.uri]) == role


@pytest.mark.parametrize(
    "text", ["", "party", "party:", "Party:server0", "admin:root", "client:a b", "client:" + "x" * 51, "client:a\n"]
)
def test_what_is_no_role(text: str) -> None:
    with pytest.raises(ConfigError):
        Role.parse(text)


@pytest.mark.parametrize(
    "uris",
    [
        [],
        ["https://example.org"],
        ["keras-private:party/server0", "keras-private:owner/alice"],
        ["keras-private:party"],
        ["keras-private:party/a/b"],
    ],
)
def test_a_certificate_names_exactly_one_role(uris: list[str]) -> None:
    with pytest.raises(ConfigError):
        Role.from_uris(uris)
