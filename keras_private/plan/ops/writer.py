"""What writes the executable plan (`fixed_point.py`), as the kinds see it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_private.plan.interval import Interval
from keras_private.plan.plan import Op, Tensor


class Later(Enum):
    """Whether an op's result is a better place for a truncation than what comes in."""

    BETTER = "better"
    AS_GOOD = "as good"
    WORSE = "worse"


class Value(Protocol):
    """A tensor of the executable plan that is being written."""

    @property
    def frac(self) -> int: ...
    @property
    def tensor(self) -> Tensor: ...
    @property
    def interval(self) -> Interval | None: ...


V = TypeVar("V", bound=Value)


class Writer(Protocol[V]):
    """Appends ops to the plan."""

    def product(self, op: Op, xs: Sequence[V]) -> V:
        """A secret product, its weights encoded, with its truncation and a ReLU that follows."""

    def table(self, op: Op, x: V) -> V:
        """What is looked up in a secret table: its weight, encoded with the fractional bits that the result keeps."""

    def whole(self, op: Op, x: V, factor: NDArray[np.float64]) -> tuple[V, NDArray[np.int64], int]:
        """`x`, truncated if it must be, and a public factor or matrix that `op` multiplies it by: integers / 2^shift.

        Raises:
            PlanError: it is too large.
        """

    def join(self, op: Op, xs: Sequence[V]) -> V:
        """Several values, or a value and a weight, brought to the same fractional bits and rank."""

    def local(self, op: Op, x: V) -> V:
        """An op that keeps the fractional bits of its input, however many."""

    def settled(self, x: V, layer: str) -> V:
        """`x` with no more fractional bits than such a value keeps."""

    def raised(self, x: V, beside: ArrayLike, layer: str) -> V:
        """`x` with the precision's fractional bits, if it has fewer and those cannot write the numbers beside it."""

    def target(self, tensor: str) -> int:
        """Fractional bits that a recorded tensor has when it has been truncated."""

    def reckoned(self, tensor: str) -> float:
        """The largest magnitude to reckon with in a recorded tensor of which nothing is proven."""

    def encode(self, op: Op, name: str, frac: int, value: NDArray[np.float64]) -> str:
        """A weight of the executable plan."""

    def emit(
        self,
        like: Op,
        xs: Sequence[V],
        weights: Sequence[str] = (),
        *,
        within: tuple[float, float] | None = None,
        **attrs: Any,
    ) -> V:
        """Append an op of `like`'s kind.

        Args:
            within: where its values are known to lie, if that is nothing that intervals see.
        """
