"""Attribute checks take plain, well formed values and nothing else."""

from typing import Any

import numpy as np
import pytest

from keras_private.errors import PlanError
from keras_private.plan import attributes as at


def test_plain_values() -> None:
    given = [np.int64(3), (np.float32(0.5), [True, np.bool_(False)]), np.array([[1, 2]]), "x"]
    value = at.plain(given)
    assert value == (3, (0.5, (True, False)), ((1, 2),), "x")
    assert [type(item) for item in (value[0], value[1][0], value[1][1][1])] == [int, float, bool]


@pytest.mark.parametrize("array", [np.array(2.5), np.full((2, 3), 1.5), np.arange(6.0).reshape(2, 1, 3), np.arange(3)])
def test_constants_there_and_back(array: np.ndarray) -> None:
    value = at.constant(array)
    assert at.real_constant(value)
    np.testing.assert_array_equal(np.broadcast_to(at.constant_array(value), array.shape), array)
    assert at.constant_shape(value) in ((), array.shape)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (at.integer(0, 5), [0, 5], [-1, 6, 1.0, True, None, "1"]),
        (at.integers(2, 1), [(1, 2)], [(1,), (1, 2, 3), [1, 2], (0, 1), (True, 1), 1, None]),
        (at.integers(None, 0), [(), (1,) * 8], [(1,) * 9, (-1,)]),
        (at.boolean, [True, False], [0, 1, None, "True"]),
        (at.data_format, ["NCHW", "NHWC"], ["nchw", None, ("NHWC",)]),
        (at.permutation, [(), (0,), (2, 0, 1)], [(1,), (0, 0), (0, 2), [0], None]),
        (at.paddings, [(), ((0, 1), (2, 3))], [((0,),), ((0, -1),), (0, 1), None, [[0, 1]]]),
        (
            at.real_constant,
            [1, 0.5, ((2,), (1.0, 2.0)), ((), (3,))],
            [np.nan, np.inf, True, ((2,), (1.0,)), (1.0,), "1"],
        ),
        (at.integer_constant, [-3, ((1, 2), (4, 5))], [1.0, 1 << 62, True, ((2,), (1, 2.0)), ((0,), ()), ((2,), 1)]),
    ],
)
def test_checks(check: at.Check, good: list[Any], bad: list[Any]) -> None:
    assert all(map(check, good))
    assert not any(map(check, bad))


def test_check_attributes() -> None:
    checks: dict[str, at.Check] = {"a": at.boolean, "b": at.boolean}
    at.check_attributes("op", {"a": True}, checks, frozenset({"b"}))
    for attrs, reason in (({"a": True}, "missing: \\['b'\\]"), ({"a": True, "b": 1}, "b is malformed")):
        with pytest.raises(PlanError, match=reason):
            at.check_attributes("op", attrs, checks)
    with pytest.raises(PlanError, match="unknown: \\[\"'c'\"\\]"):
        at.check_attributes("op", {"a": True, "b": True, "c": 1}, checks)
