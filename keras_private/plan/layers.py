"""What a query costs, layer by layer: where its rounds, bytes and time go."""

from __future__ import annotations

from dataclasses import dataclass

from keras_private.plan.cost import Cost
from keras_private.plan.plan import Op, Plan
from keras_private.plan.schedule import costs, stages


@dataclass(frozen=True, slots=True)
class Timing:
    """A run of so many rows, as the leader measured it: seconds of each stage of the plan, waiting included."""

    rows: int
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LayerCost:
    """What a layer's ops cost together. seconds: of the run that was measured; 0 without one. A stage that runs ops of
    several layers at once counts for its last one."""

    layer: str
    cost: Cost
    seconds: float


def named(op: Op) -> str:
    """The layer that an op came from, for people."""
    return op.layer or "(plan)"


def by_layer(plan: Plan, batch: int = 1, timing: Timing | None = None) -> list[LayerCost]:
    """The layers of an executable plan in the order of their first op.

    Raises:
        PlanError: an op's kind is unknown or not executable.
    """
    found: dict[str, LayerCost] = {}
    ends = {} if timing is None else dict(zip((stage.last for stage in stages(plan)), timing.seconds, strict=True))
    for position, (op, cost) in enumerate(zip(plan.ops, costs(plan, batch), strict=True)):
        before = found.get(named(op), LayerCost(named(op), Cost(), 0.0))
        found[named(op)] = LayerCost(named(op), before.cost + cost, before.seconds + ends.get(position, 0.0))
    return list(found.values())
