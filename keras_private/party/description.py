"""What a party tells clients of the model that it holds."""

from __future__ import annotations

from keras_private.net.roles import Role
from keras_private.party.messages import Description, InputPort, OutputPort
from keras_private.party.models import HeldModel


def describe(model: HeldModel) -> Description:
    """Of the plan its inputs and outputs, and nothing of what is in between."""
    plan = model.plan
    inputs = tuple(
        InputPort(given.name, plan.shape(given), given.kind, plan.frac(given), given.range, given.limit)
        for given in plan.inputs
    )
    outputs = tuple(
        OutputPort(made.name, plan.shape(made), made.kind, plan.frac(made), made.final_activation, made.reveal)
        for made in plan.outputs
    )
    owner, rows = Role.parse(model.owner).name, model.room.query_rows
    return Description(model.id, model.digest, owner, plan.takes, inputs, plan.gives, outputs, rows)
