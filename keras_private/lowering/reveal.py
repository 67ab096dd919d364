"""What clients are told of an output (`share(reveal=…)`): its logits, its probabilities, only a label, or the top five.

A label tells least, and a stranger who wants to imitate the model learns least from it. It is computed by the parties,
and what it is made of is opened to nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_private.errors import ConfigError, PlanError
from keras_private.lowering.layout import sizes
from keras_private.lowering.ports import Port, Ports
from keras_private.plan.plan import BIT, INTEGER, REAL, Output
from keras_private.plan.ports import TOP

LOGITS, PROBABILITIES, LABEL, TOP5 = "logits", "probabilities", "label", "top5"
CHOICES = (LOGITS, PROBABILITIES, LABEL, TOP5)


def check_reveal(reveal: Any) -> None:
    """Whether it is one of the four, or a dict of them.

    Raises:
        ConfigError: it is not.
    """
    for choice in reveal.values() if isinstance(reveal, Mapping) else [reveal]:
        if not isinstance(choice, str) or choice not in CHOICES:
            raise ConfigError(
                f"reveal must be one of {', '.join(map(repr, CHOICES))}, or a dict of them by the outputs' names, not "
                f"{choice!r}"
            )


def reveals_of(reveal: Any, ports: Ports) -> dict[str, str]:
    """What is told of each output, by its name.

    Args:
        reveal: one of CHOICES for all, or a dict by name; what it leaves out is revealed as logits.

    Raises:
        ConfigError: it is nothing of that, or names an output that the model does not have.
    """
    check_reveal(reveal)
    if not isinstance(reveal, Mapping):
        return {port.name: reveal for port in ports.ports}
    names = [port.name for port in ports.ports]
    if unknown := [name for name in reveal if name not in names]:
        raise ConfigError(f"reveal names {unknown[0]!r}; the model's outputs are {', '.join(map(repr, names))}")
    return {name: reveal.get(name, LOGITS) for name in names}


def revealed(prot: Any, port: Port, result: Any, choice: str, final: str) -> Output:
    """The output of a plan that tells this of a model's output.

    Args:
        result: what has been lowered: without its last activation, but for probabilities.
        final: that activation: "softmax", "sigmoid" or "".

    Raises:
        PlanError: the output has no label: it is whole numbers or bits, or a single number without a sigmoid.
    """
    if choice in (LOGITS, PROBABILITIES):
        return Output(port.name, result.name, port.kind, final if choice == LOGITS else "")
    where = f"output {port.name!r} cannot be revealed as {choice!r}"
    if port.kind != REAL:
        raise PlanError(f"{where}: it is {port.kind}s already; reveal it as 'logits'")
    if final == "sigmoid":
        if choice == TOP5:
            raise PlanError(f"{where}: each of its numbers is a yes or no of its own; reveal 'label'")
        return Output(port.name, prot.to_number(prot.above(result, 0.0)).name, BIT, reveal=LABEL)
    classes = sizes(result)[-1] if sizes(result) else 1
    if classes < 2:
        raise PlanError(f"{where}: a label is the largest of several numbers, or the yes or no of a last sigmoid")
    if choice == LABEL:
        return Output(port.name, prot.argmax(result, -1).name, INTEGER, reveal=LABEL)
    return Output(port.name, prot.top_k(result, min(TOP, classes), places=True).name, INTEGER, reveal=TOP5)
