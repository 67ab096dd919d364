"""`private_summary`: what a query costs and what is proven, in a table a person likes to read."""

from __future__ import annotations

import math
import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence

from keras_private.plan.cost import Cost
from keras_private.plan.layers import Timing, named
from keras_private.plan.networks import NETWORKS, estimate
from keras_private.plan.ops import CONTRACT_BITS, Product, dropped, kind_of
from keras_private.plan.origins import is_proved
from keras_private.plan.plan import CHECKS, REAL, Accuracy, Input, Op, Output, Plan, Shape
from keras_private.plan.ports import said_range
from keras_private.plan.schedule import costs, stages
from keras_private.plan.scoring import scoring

WIDTH = 100

_COMPUTING = "The parties' computing comes on top; for a large model on a fast network it is most of the time."
_SIGNS = (
    "Bounds: 2^k is proved for every input in range, ~2^k was measured on calibration data, ?2^k is guessed from "
    "random inputs."
)

_COLUMNS = (
    *(("Layer", 23), ("Operation", 25), ("Output shape", 16), ("Rounds", 6), ("Sent/party", 10), ("Bound", 7)),
    ("Time", 5),
)
_RIGHT = ("Rounds", "Sent/party", "Bound", "Time")
_EVALUATED = 50  # rows that the cost of an evaluation is given for
_SAME = "″"  # the time above is that of this operation too


def private_summary(
    plan: Plan,
    *,
    batch: int = 1,
    title: str = "",
    accuracy: Accuracy | None = None,
    timing: Timing | None = None,
    reaches: Mapping[str, str] | None = None,
) -> str:
    """The table, as plain text of at most 100 columns.

    Args:
        plan: executable.
        batch: images per query that rounds and bytes are given for.
        title: the model's name.
        accuracy: as `optimise` measured it.
        timing: of a run of this plan; None: no query ran yet.
        reaches: how far values go whose bound is not proved (`origins.reaches`).

    Rounds are those of the parties among themselves. Bytes are what the busiest party sends, without frame headers and
    TLS. A bound 2^k says that all values of the output are proven smaller than 2^k in magnitude. Operations that run in
    the same rounds have one share of the time.
    """
    rows: list[tuple[str, ...]] = []
    total = Cost()
    shown = None
    times = _times(plan, timing)
    checks: defaultdict[str, list[Cost]] = defaultdict(list)  # many small ops between the others
    for op, cost, share in zip(plan.ops, costs(plan, batch), times, strict=True):
        total += cost
        layer = named(op)
        if layer in CHECKS:
            checks[layer].append(cost)
            continue
        rows.append(
            (
                layer if layer != shown else "",
                _operation(op),
                _shape(plan.tensors[op.output].shape),
                str(cost.rounds or "·"),
                size(max(cost.sent)) if any(cost.sent) else "·",
                (reaches or {}).get(op.output) or _bound(plan, op.output),
                share,
            )
        )
        shown = layer
    for layer, found in checks.items():
        whole = sum(found, Cost())
        rows.append((layer, f"{len(found)} operations", "", str(whole.rounds or "·"), size(max(whole.sent)), "", ""))
    starts = [
        (_named("input", given.name, plan.inputs), said_range(given), _shape(plan.shape(given)), "·", "·", bound, "")
        for given, bound in ((given, _bound(plan, given.tensor)) for given in plan.inputs)
    ]
    last = (
        "total",
        f"{len(plan.ops)} operations, batch {batch}",
        "",
        str(total.rounds),
        size(max(total.sent)),
        "",
        "",
    )
    table = [_rule("┌", "┬", "┐"), _row([name for name, _ in _COLUMNS]), _rule("├", "┼", "┤")]
    table += [_row(row) for row in starts]
    table += [_row(row) for row in rows]
    table += [_row(row) for row in _ends(plan)]
    table += [_rule("├", "┼", "┤"), _row(last), _rule("└", "┴", "┘")]
    heading = [f"Private plan of {title}"] if title else []
    signs = textwrap.wrap(_SIGNS, WIDTH) if reaches else []
    return (
        "\n".join(
            [*heading, *table, *_facts(plan, total, timing), *signs, *_unproven(plan), *_expected(plan, accuracy)]
        )
        + "\n"
    )


def _times(plan: Plan, timing: Timing | None) -> list[str]:
    """Each op's share of the time of a run."""
    if timing is None:
        return [""] * len(plan.ops)
    whole, found = sum(timing.seconds) or 1.0, []
    for stage, seconds in zip(stages(plan), timing.seconds, strict=True):
        part = 100 * seconds / whole
        found += [
            f"{part:.0f} %" if part >= 0.5 else "·",
            *[_SAME if part >= 0.5 else "·"] * (stage.last - stage.first),
        ]
    return found


def unproven(plan: Plan) -> list[str]:
    """The layers, in order, with a value whose range could not be proved."""
    return list(dict.fromkeys(op.layer or op.kind for op in plan.ops if not is_proved(plan, op)))


def size(count: int) -> str:
    """12 B, 3.4 kB, 5.6 MB (powers of ten)."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5 or unit == "GB":
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 99.5 else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError("unreachable")


def _duration(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _operation(op: Op) -> str:
    parts = [op.kind]
    if isinstance(kind_of(op), Product) and dropped(op):
        parts.append("trunc")
    if op.attrs.get("relu"):
        parts.append("relu")
    return " + ".join(parts)


def _shape(shape: Shape) -> str:
    return f"({', '.join(['batch', *map(str, shape)])})" if len(shape) < 3 else f"({', '.join(map(str, shape))})"


def _named(what: str, name: str, ports: Sequence[Input | Output]) -> str:
    return what if len(ports) == 1 else f"{what} {name}"


def _ends(plan: Plan) -> list[tuple[str, ...]]:
    """A row for each output, where there is more to say of it than that it is the last operation's."""
    plain = len(plan.outputs) == 1 and plan.outputs[0].reveal == "values" and plan.outputs[0].kind == REAL
    return [
        (
            _named("output", made.name, plan.outputs),
            f"{made.reveal} to the {made.recipient}",
            _shape(plan.shape(made)),
            "·",
            "·",
            _bound(plan, made.tensor),
            "",
        )
        for made in (() if plain else plan.outputs)
    ]


def _bound(plan: Plan, name: str) -> str:
    tensor = plan.tensors[name]
    return "?" if tensor.bound is None else f"2^{tensor.bound - tensor.frac}"


def _rule(left: str, middle: str, right: str) -> str:
    return left + middle.join("─" * width for _, width in _COLUMNS) + right


def _row(cells: Sequence[str]) -> str:
    shown = []
    for cell, (name, width) in zip(cells, _COLUMNS, strict=True):
        text = cell if len(cell) <= width else cell[: width - 1] + "…"
        shown.append(text.rjust(width) if name in _RIGHT else text.ljust(width))
    return "│" + "│".join(shown) + "│"


def _facts(plan: Plan, total: Cost, timing: Timing | None) -> list[str]:
    weights = sum(math.prod(weight.shape) for weight in plan.weights.values())
    waits = "; ".join(f"{network.said} {_duration(estimate(total, network))}" for network in NETWORKS)
    ran = []
    if timing is not None:
        rows = "1 row" if timing.rows == 1 else f"{timing.rows} rows"
        ran = [f"The last run, of {rows}, took the parties {_duration(sum(timing.seconds))}."]
    return [
        *ran,
        f"Secret weights: {weights:,} in {len(plan.weights)} arrays. Fixed point: {plan.precision} fractional bits.",
        *textwrap.wrap(f"Waiting for the network alone: {waits}. {_COMPUTING}", WIDTH),
        *_final_activation(plan),
        *_evaluations(plan),
    ]


def _evaluations(plan: Plan) -> list[str]:
    """What may be evaluated, and what it costs beyond queries of as many rows."""
    lines = []
    for allowed in plan.evaluations:
        cost, query = (sum(costs(each, _EVALUATED), Cost()) for each in (scoring(plan, allowed.metric).plan, plan))
        text = (
            f"Evaluation by {allowed.metric}: told to the {allowed.recipient}, of {allowed.fewest} rows or more. A run "
            f"of {_EVALUATED} rows takes {cost.rounds} rounds and {size(max(cost.sent))} of the busiest party; a query "
            f"of as many {query.rounds} and {size(max(query.sent))}."
        )
        lines += textwrap.wrap(text, WIDTH)
    return lines


def _final_activation(plan: Plan) -> list[str]:
    names: dict[str, list[str]] = {}
    for made in plan.outputs:
        if made.final_activation:
            names.setdefault(made.final_activation, []).append(made.name)
    lines = []
    for activation, outputs in names.items():
        which = f" of {', '.join(outputs)}" if len(plan.outputs) > 1 else ""
        text = (
            f"Final {activation}{which}: not computed by the parties; the client library applies it to what it "
            "decoded, so clients see the logits."
        )
        lines += textwrap.wrap(text, WIDTH)
    return lines


def _unproven(plan: Plan) -> list[str]:
    layers = unproven(plan)
    guarded = any(made.reveal == "guard" for made in plan.outputs)
    if not layers:
        text = "Ranges: proven for every value; nothing can overflow for inputs within the declared range."
        if guarded:
            text += " Clients get an error for a row in which a value was cut off, or is beyond a table's end (guard)."
        return textwrap.wrap(text + _cuts(plan, guarded), WIDTH)
    names = ", ".join(layers[:8]) + (f" and {len(layers) - 8} more" if len(layers) > 8 else "")
    limit = CONTRACT_BITS - max(
        plan.tensors[op.output].frac + int(op.attrs.get("drop", 0)) for op in plan.ops if not is_proved(plan, op)
    )
    cause = (
        "no input_range was declared; share(cluster, input_range=(low, high)) lets bounds be proven"
        if not plan.ranged
        else "the worst case grows too large through these layers; real inputs rarely come near it"
    )
    beyond = "wrong without notice beyond"
    if guarded:
        beyond = "clients get an error for a row in which one may not (guard)"
    text = (
        f"Ranges: not proven for {names}: {cause}. Results are right as long as every value before a truncation stays "
        f"below 2^{limit} in magnitude, and {beyond}."
    )
    return textwrap.wrap(text, WIDTH)


def _cuts(plan: Plan, guarded: bool) -> str:
    """Where an outlier is answered wrong, though nothing overflows."""
    layers = list(dict.fromkeys(op.layer for op in plan.ops if op.attrs.get("cut")))
    if not layers:
        return ""
    names = ", ".join(layers[:8]) + (f" and {len(layers) - 8} more" if len(layers) > 8 else "")
    notice = "" if guarded else "; guard=True tells clients of such rows"
    return f" Values far beyond those of the calibration data are cut off in {names}{notice}."


def _expected(plan: Plan, accuracy: Accuracy | None) -> list[str]:
    if accuracy is None or all(made.kind != REAL for made in plan.outputs):
        return []
    part = f", {accuracy.relative:.2g} of the range they lie in" if accuracy.span else ""
    inputs = "inputs of the calibration data" if accuracy.calibrated else "random inputs"
    text = (
        f"Largest error expected of an output: {accuracy.error:.2g}{part}. That is measured, on {accuracy.count} "
        f"{inputs}, by rounding where the parties round; it is no bound."
    )
    return textwrap.wrap(text, WIDTH)
