"""Which functions of `keras.ops`, and of TensorFlow for tf_keras, can stand between layers: docs/operations.md.

    python -m keras_private.lowering.operations.catalogue > docs/operations.md

Which class a function of Keras records is read from its source, and which classes have a lowering from the registry.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from keras_private import lowering as _registers  # noqa: F401
from keras_private.lowering.operation import known_operations
from keras_private.lowering.tensorflow import known_functions

_FOLDERS = ("keras.ops", "keras.ops.image")  # keras.activations calls the first

_LIMITS = (
    ("any of them", "axis 0 is the batch: what moves, joins or mixes it is refused"),
    ("two tensors", "have as many axes, and the batch first; a constant may be an array or a number"),
    ("a number, an array, a variable", "a number is public; an array or a variable is secret, as a weight is"),
    (
        "`/`, `reciprocal`, `rsqrt`, `log`",
        "the divisor, or what is in the root or logarithm, must be proven to keep away from 0 (to be positive), by the "
        "input's range or by the model: `keras.ops.maximum(x, 1e-3)`",
    ),
    ("`power`", "whole exponents to 16, and 0.5; also negative"),
    ("`exp`", "up to e^16, and what would be more counts as that"),
    ("`sqrt`, `norm`", "of less than 2^-20 the root is 2^-10"),
    ("`floor`, `ceil`, `trunc`, `//`, `%`, `digitize`", "of at most 256 steps, which must be proven"),
    (
        "comparisons, `argmax`, `sort`, `top_k`",
        "exact on the values as the parties hold them; of two that Keras tells apart by less than a unit "
        "of fixed point either may be the larger",
    ),
    ("`sort`, `top_k`, `median`, `sparsemax`", "of at most 1024 values; the cost grows with their square"),
    ("`take`", "fixed places of a tensor; or whole numbers that depend on the input, as places of a fixed table"),
    ("`cast`", "to bits and from them, and between kinds of floats; of real numbers to whole ones with `floor`"),
    ("`sparsemax`", "as Keras computes it, which is not quite what its paper defines"),
)


def functions() -> Mapping[str, Mapping[str, str]]:
    """By folder and name: the class that a function records. Those that record none are left out."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for folder in _FOLDERS:
        for name, function in inspect.getmembers(importlib.import_module(folder), inspect.isfunction):
            kind = _recorded(function)
            if kind and name[0] != "_":
                found[folder][name] = kind
    return found


def _recorded(function: Callable[..., Any]) -> str:
    """The class of operation that the source of a function of Keras' names."""
    for name in re.findall(r"\b([A-Z]\w*)\(", inspect.getsource(function)):
        named = vars(inspect.getmodule(function)).get(name)
        if inspect.isclass(named) and any(base.__name__ == "Operation" for base in named.__mro__):
            return str(name)
    return ""


def text() -> str:
    """docs/operations.md."""
    known, lines = known_operations(), list[str]()
    for folder, members in functions().items():
        lines += [f"### `{folder}`", "", *_wrapped(name for name, kind in members.items() if kind in known), ""]
    refused = [
        f"{folder.removeprefix('keras.ops.')}.{name}" if folder == "keras.ops.image" else name
        for folder, members in functions().items()
        for name, kind in members.items()
        if kind not in known
    ]
    return "\n".join(
        [
            "# Operations between layers",
            "",
            "What can be written between layers of a functional model: `x + y`, `x[:, 1:]`, `keras.ops.relu(x)`. The",
            "file is made by `python -m keras_private.lowering.operations.catalogue`, from Keras and from what is",
            "registered; each is compared with Keras in the tests (`tests/lowering/cases_operations.py`).",
            "The functions of `keras.activations` record those of `keras.ops`.",
            "",
            "| | |",
            "|---|---|",
            *(f"| {what} | {limit} |" for what, limit in _LIMITS),
            "",
            "## Run privately",
            "",
            *lines,
            "### TensorFlow's functions, in models of `tf_keras`",
            "",
            *_wrapped(known_functions()),
            "",
            "## Not possible",
            "",
            "What depends on the data in its shape or course, complex numbers, decompositions of matrices, and what",
            "nobody has asked for:",
            "",
            *_wrapped(refused),
            "",
        ]
    )


def _wrapped(names: Iterable[str]) -> list[str]:
    return textwrap.wrap(", ".join(f"`{name}`" for name in sorted(names)), 120, break_on_hyphens=False)


if __name__ == "__main__":
    sys.stdout.write(text())
