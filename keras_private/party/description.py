"""What a party tells clients of the model that it holds."""

from __future__ import annotations

from keras_private.net.roles import Role
from keras_private.party.messages import Description, EvaluationPort, InputPort, OutputPort
from keras_private.party.models import HeldModel, Scorer
from keras_private.plan.plan import Input, Plan


def describe(model: HeldModel) -> Description:
    """Of the plan its inputs and outputs, and nothing of what is in between."""
    evaluations = tuple(_evaluation(scorer) for scorer in model.scorers.values())
    owner, rows = Role.parse(model.owner).name, model.room.query_rows
    return described(model.plan, model.id, (model.name, model.version), model.digest, owner, rows, evaluations)


def described(
    plan: Plan,
    id_: bytes,
    called: tuple[str, int],
    digest: str,
    owner: str,
    rows: int,
    evaluations: tuple[EvaluationPort, ...] = (),
) -> Description:
    """A plan as its clients get to know it; `called`: its name and version, `rows`: the most of a query."""
    inputs = tuple(_input(given, plan) for given in plan.inputs)
    outputs = tuple(
        OutputPort(made.name, plan.shape(made), made.kind, plan.frac(made), made.final_activation, made.reveal)
        for made in plan.outputs
    )
    return Description(id_, *called, digest, owner, plan.takes, inputs, plan.gives, outputs, evaluations, rows)


def _input(given: Input, plan: Plan) -> InputPort:
    return InputPort(given.name, plan.shape(given), given.kind, plan.frac(given), given.range, given.limit)


def _evaluation(scorer: Scorer) -> EvaluationPort:
    allowed, scoring, plan = scorer.allowed, scorer.scoring, scorer.plan
    score, *_ = plan.outputs
    return EvaluationPort(
        allowed.metric,
        allowed.recipient,
        allowed.fewest,
        scoring.most,
        scorer.room.query_rows,
        _input(scoring.target, plan),
        scoring.counts,
        scoring.notices,
        plan.frac(score),
    )
