"""Which axes of two operands meet in a product: numpy's einsum of two operands, of one sample.

Theory of operation. Every axis has a label. An axis whose label is in both operands and not in the result is summed
over; one that is in both and in the result is gone through; one that is in a single operand is kept or summed. A label
that appears twice in an operand takes its diagonal. An axis of size one meets any size, as numpy broadcasts.

The batch axis is no part of an equation: it is the first axis of every tensor and of the result and has a label of its
own, so that no equation can let rows meet.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_private.errors import PlanError
from keras_private.plan.attributes import MAX_RANK
from keras_private.plan.ops.kind import Array
from keras_private.plan.plan import Shape

BATCH = 0  # its label
_LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CANONICAL = re.compile(r"([A-Za-z]*),([A-Za-z]*)->([A-Za-z]*)")
_NUMPYS = re.compile(r"[A-Za-z.]*,[A-Za-z.]*(->[A-Za-z.]*)?")


@dataclass(frozen=True, slots=True)
class Equation:
    """The labels of each axis of the operands and of the result, numbers from 1."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    out: tuple[int, ...]

    @staticmethod
    def read(text: str) -> Equation:
        """Of the form that plans have: letters, one comma, an arrow. `canonical` makes it of numpy's other forms.

        Raises:
            PlanError: it is not of this form, or asks for what no sum of products gives.
        """
        found = _CANONICAL.fullmatch(text)
        if found is None:
            raise PlanError(f"{text[:60]!r} is not an equation of the form 'ij,jk->ik'")
        numbers = {letter: number for number, letter in enumerate(dict.fromkeys("".join(found.groups())), 1)}
        left, right, out = (tuple(numbers[letter] for letter in part) for part in found.groups())
        if max(len(left), len(right), len(out)) > MAX_RANK or len(numbers) > 2 * MAX_RANK:
            raise PlanError(f"the equation {text[:60]!r} has more than {MAX_RANK} axes")
        if len(set(out)) < len(out) or not {*out} <= {*left, *right}:
            raise PlanError(f"the result of the equation {text!r} has an axis twice, or one that no operand has")
        return Equation(left, right, out)

    @staticmethod
    def of_matmul(left: int, right: int) -> Equation:
        """numpy's matmul of samples of these ranks: the axes before the last two broadcast; one axis is a vector."""
        if not left or not right:
            raise PlanError("matmul needs operands with at least one axis")
        row, inner, column = 1, 2, 3
        lead = tuple(range(4, 4 + max(left, right) - 2))
        return Equation(
            (*lead[len(lead) - max(left - 2, 0) :], row, inner) if left > 1 else (inner,),
            (*lead[len(lead) - max(right - 2, 0) :], inner, column) if right > 1 else (inner,),
            (*lead, *(row,) * (left > 1), *(column,) * (right > 1)),
        )

    def sizes(self, left: Shape, right: Shape) -> dict[int, int]:
        """The size of every label, for operands of these shapes.

        Raises:
            PlanError: the shapes do not fit.
        """
        if len(left) != len(self.left) or len(right) != len(self.right):
            raise PlanError(f"operands of shapes {left} and {right} do not have the axes of {self}")
        found: dict[int, int] = {}
        for labels, shape in ((self.left, left), (self.right, right)):
            if any(size != shape[labels.index(label)] for label, size in zip(labels, shape, strict=True)):
                raise PlanError(f"{self} takes a diagonal of unequal axes of {shape}")
            for label, size in zip(labels, shape, strict=True):
                known = found.get(label, 1)
                if known != size and known != 1 != size:
                    raise PlanError(f"operands of shapes {left} and {right} do not fit {self}")
                found[label] = max(known, size)
        return found

    def shape(self, left: Shape, right: Shape) -> Shape:
        """The result's shape.

        Raises:
            PlanError: the operands' shapes do not fit.
        """
        sizes = self.sizes(left, right)
        return tuple(sizes[label] for label in self.out)

    def multiply(self, x: Array, y: Array, *, of_batch: bool) -> Array:
        """The result for x of (batch, *shape) and y alike, or, without `of_batch`, one y for all samples."""
        right = (BATCH, *self.right) if of_batch else self.right
        rule = f"{letters((BATCH, *self.left))},{letters(right)}->{letters((BATCH, *self.out))}"
        found: Array = np.einsum(rule, x, y, optimize=True)
        return found

    def __str__(self) -> str:
        return f"{letters(self.left)},{letters(self.right)}->{letters(self.out)}"


def letters(labels: Sequence[int]) -> str:
    """As numpy's einsum takes them; the batch is h."""
    return "".join(_LABELS[_LABELS.index("h") + label] for label in labels)


def canonical(text: str, ranks: Sequence[int]) -> str:
    """An equation of two operands of one sample in the form that plans have.

    Args:
        text: as numpy's einsum takes it; spaces, ellipses and an implied result are allowed.
        ranks: how many axes the operands have.

    Raises:
        PlanError: numpy would not take it for operands of these ranks either.
    """
    bare = "".join(text.split())
    if _NUMPYS.fullmatch(bare) is None:
        raise PlanError(f"{text[:60]!r} is not an equation of two operands, as 'ij,jk->ik' is")
    given, arrow, result = bare.partition("->")
    used = [letter for letter in given if letter.isalpha()]
    spare = [letter for letter in _LABELS if letter not in used]
    left, right = (_spelt_out(part, rank, spare) for part, rank in zip(given.split(","), ranks, strict=True))
    longest = max(left[1], right[1], key=len)
    if not arrow:
        result = "..." * ("..." in given) + "".join(sorted(letter for letter in set(used) if used.count(letter) == 1))
    if "." in result.replace("...", "", 1) or (longest and "..." not in result):
        raise PlanError(f"the result of the equation {text[:60]!r} has a malformed ellipsis, or lacks one")
    found = f"{left[0]},{right[0]}->{result.replace('...', longest)}"
    Equation.read(found)
    return found


def _spelt_out(part: str, rank: int, spare: Sequence[str]) -> tuple[str, str]:
    """The labels of one operand with letters for its ellipsis, and those letters; ellipses are aligned at their end."""
    named = part.replace("...", "", 1)
    if "." in named:
        raise PlanError(f"{part[:60]!r} in an equation has a malformed ellipsis")
    missing = rank - len(named)
    if not 0 <= missing <= MAX_RANK or (missing and "..." not in part):
        raise PlanError(f"{part[:60]!r} in an equation does not name the {rank} axes of its operand")
    lead = "".join(spare[MAX_RANK - missing : MAX_RANK])
    return part.replace("...", lead), lead


def without_batch(text: str, ranks: Sequence[int], tensors: Sequence[bool]) -> str:
    """An equation of whole batches as one of samples: the label of the batch, the first of every tensor, goes.

    Args:
        text: as numpy's einsum takes it, the result spelt out.
        ranks: how many axes the operands have, the batch included.
        tensors: for both operands, whether it is a tensor, whose first axis is the batch, or a weight, which has none.

    Raises:
        PlanError: rows of the batch would meet, or move.
    """
    bare = "".join(text.split())
    given, _, result = bare.partition("->")
    parts = given.split(",")
    if _NUMPYS.fullmatch(bare) is None or not result:
        raise PlanError(f"{text[:60]!r} is not an equation of two operands and a result, as 'bij,bjk->bik' is")
    of_tensors = [part for part, tensor in zip((*parts, result), (*tensors, True), strict=True) if tensor]
    batch = result[0]
    if batch == ".":
        # What an ellipsis stands for is aligned at its end: the first axis is the batch where all are as long.
        leads = [rank - len(part.replace("...", "")) for part, rank in zip(parts, ranks, strict=True)]
        longest = max(leads)
        rowwise = all(part.startswith("...") for part in of_tensors) and all(
            lead == longest if tensor else lead < longest for lead, tensor in zip(leads, tensors, strict=True)
        )
    else:
        rowwise = all(part[0:1] == batch for part in of_tensors) and bare.count(batch) == len(of_tensors)
    if not rowwise:
        raise PlanError(
            f"the equation {text[:60]!r} would mix the rows of a batch; their axis must come first in every tensor and "
            "in the result, and nowhere else"
        )
    if batch == ".":
        return bare
    return ",".join(part[tensor:] for part, tensor in zip(parts, tensors, strict=True)) + "->" + result[1:]
