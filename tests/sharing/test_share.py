"""Splitting, expanding and reconstructing."""

import hmac

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_private.errors import InputError, IntegrityError
from keras_private.sharing.share import Package, Share, reconstruct, split

quick = settings(derandomize=True, deadline=None, max_examples=60)
secrets = hnp.arrays(np.uint64, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6))


def wire(package: Package) -> Package:
    """The package after a trip as bytes."""
    return Package(bytes(memoryview(package.mine).cast("B")), bytes(memoryview(package.next).cast("B")))


@quick
@given(secrets)
def test_reconstruct_undoes_split(secret: np.ndarray) -> None:
    packages = split(secret)
    direct = [package.expand(secret.shape) for package in packages]
    assert np.array_equal(reconstruct(direct), secret)
    assert all(share.shape == secret.shape for share in direct)
    if secret.size:
        travelled = [wire(package).expand(secret.shape) for package in packages]
        assert np.array_equal(reconstruct(travelled), secret)
        assert all(share.mine.flags.writeable and share.mine.flags.aligned for share in travelled)


@quick
@given(secrets.filter(lambda secret: secret.size > 0), st.integers(0, 2), st.integers(0, 1), st.integers(1, 2**64 - 1))
def test_a_changed_share_is_noticed(secret: np.ndarray, party: int, half: int, change: int) -> None:
    shares = [package.expand(secret.shape) for package in split(secret)]
    flat = (shares[party].next if half else shares[party].mine).reshape(-1)
    flat[-1] += np.uint64(change)
    first = party if half else (party - 1) % 3
    with pytest.raises(IntegrityError, match=f"server{first} and server{(first + 1) % 3} disagree"):
        reconstruct(shares)


def test_copies_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    real = hmac.compare_digest

    def spy(left: memoryview, right: memoryview) -> bool:
        compared.append(left.nbytes)
        return real(left, right)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    shares = [package.expand((10,)) for package in split(np.zeros(10, np.uint64))]
    shares[0].next[0] += np.uint64(1)
    with pytest.raises(IntegrityError):
        reconstruct(shares)
    assert compared == [80, 80, 80]  # all of them, in full, after a difference too


def test_two_splits_share_nothing() -> None:
    secret = np.zeros(1000, np.uint64)
    seen = [share for _ in range(2) for package in split(secret) for share in [package.expand(secret.shape)]]
    for i in range(3):
        assert not np.isin(seen[i].mine, seen[i + 3].mine).any()
        assert not np.isin(seen[i].mine, seen[i].next).any()


def test_only_one_summand_travels_in_full() -> None:
    packages = split(np.zeros(1000, np.uint64))
    sizes = [sorted(len(bytes(memoryview(part).cast("B"))) for part in (p.mine, p.next)) for p in packages]
    assert sizes == [[32, 32], [32, 8000], [32, 8000]]


@pytest.mark.parametrize("count", [1, 4])
def test_small_secrets_travel_as_data(count: int) -> None:
    for package in split(np.arange(count, dtype=np.uint64)):
        assert package.mine.nbytes == package.next.nbytes == 8 * count  # type: ignore[union-attr]


@pytest.mark.parametrize("size", [0, 8, 31, 33, 72, 88])
def test_expand_refuses_other_sizes(size: int) -> None:
    with pytest.raises(InputError, match="32-byte seed"):
        Package(bytes(size), bytes(32)).expand((2, 5))
    with pytest.raises(InputError, match="32-byte seed"):
        Package(bytes(32), bytes(size)).expand((2, 5))


def test_a_seed_cannot_stand_for_little() -> None:
    with pytest.raises(InputError):
        Package(bytes(32), bytes(32)).expand((3,))


def test_refuses_what_is_no_share() -> None:
    words = np.zeros(3, np.uint64)
    with pytest.raises(InputError):
        Share(words, np.zeros(4, np.uint64))
    with pytest.raises(InputError):
        Share(words, np.zeros(3))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="encode"):
        split(np.zeros(3))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="three"):
        reconstruct([Share(words, words)] * 2)


def test_repr_shows_shapes_only() -> None:
    secret = np.full(6, 1234567890123456789, np.uint64)
    share = Share(secret, secret)
    assert repr(share) == "Share(shape=(6,))"
    for package in split(secret):
        text = repr(package)
        assert text in ("Package(32 bytes, 32 bytes)", "Package(32 bytes, 48 bytes)", "Package(48 bytes, 32 bytes)")
    assert not hasattr(share, "__dict__")
