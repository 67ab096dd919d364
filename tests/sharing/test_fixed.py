"""Fixed point against exact arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_private.errors import InputError
from keras_private.sharing import fixed

quick = settings(derandomize=True, deadline=None, max_examples=100)


@quick
@given(st.integers(0, 40), st.lists(st.floats(-(2.0**20), 2.0**20), max_size=20))
def test_decode_undoes_encode_to_half_a_unit(frac: int, values: list[float]) -> None:
    decoded = fixed.decode(fixed.encode(values, frac), frac)
    for value, back in zip(values, decoded.tolist(), strict=True):
        assert abs(Fraction(back) - Fraction(value)) <= Fraction(1, 2 ** (frac + 1))


@quick
@given(st.integers(0, 62), st.lists(st.integers(-(2**52), 2**52), max_size=20))
def test_encode_undoes_decode(frac: int, raw: list[int]) -> None:
    words = np.array(raw, dtype=np.int64).view(np.uint64)
    assert np.array_equal(fixed.encode(fixed.decode(words, frac), frac), words)


def test_rounds_half_to_even_and_wraps_negatives() -> None:
    raw = fixed.encode([0.5, 1.5, 2.5, -0.5, -1.5, -1.0], 0)
    assert raw.view(np.int64).tolist() == [0, 2, 2, 0, -2, -1]
    assert raw[5] == 2**64 - 1


def test_accepts_any_real_array() -> None:
    wanted = fixed.encode([[1.0, 2.0], [3.0, 4.0]], 8)
    fortran = np.asfortranarray([[1.0, 2.0], [3.0, 4.0]])
    fortran.flags.writeable = False
    for values in (fortran, np.array([[1, 2], [3, 4]], np.int32), np.array([[1, 2], [3, 4]], np.float32)):
        raw = fixed.encode(values, 8)
        assert np.array_equal(raw, wanted)
        assert raw.flags.c_contiguous
    assert fixed.encode(1.5, 1).shape == ()
    assert fixed.encode(np.zeros((0, 3)), 1).shape == (0, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2.0**46, -(2.0**46), 1e300])
def test_refuses_what_does_not_fit(value: float) -> None:
    with pytest.raises(InputError):
        fixed.encode([0.0, value], 16)
    fixed.encode([np.nextafter(2.0**46, 0)], 16)


def test_refuses_what_is_not_a_real_array() -> None:
    for values in (["a"], [[1.0], [1.0, 2.0]], None):
        with pytest.raises(InputError):
            fixed.encode(values, 16)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="fractional bits"):
        fixed.encode([1.0], 63)
    with pytest.raises(InputError, match="uint64"):
        fixed.decode(np.zeros(2), 16)  # type: ignore[arg-type]
