"""From a Keras model to what parties run: lowered, then optimised. `share`, `check` and the command line all come here.

What an owner chooses about a plan is one `Choices`, so that the three offer the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from keras_private.calibration import arrays_of
from keras_private.errors import ConfigError
from keras_private.lowering import LOGITS, draft_of
from keras_private.plan.optimise import optimise
from keras_private.plan.plan import Draft
from keras_private.plan.scoring import evaluations_of


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Choices:
    """What an owner chooses about the plan of a model; `share` says what each means."""

    input_range: Any = None
    reveal: Any = LOGITS
    calibration: Any = None
    saturate: bool = True
    evaluation: Any = None
    guard: bool | None = None
    enforce_range: bool = False

    def __post_init__(self) -> None:
        if self.guard not in (None, True, False):
            raise ConfigError(f"guard is True, False or None, not {self.guard!r}")
        if self.enforce_range not in (True, False):
            raise ConfigError(f"enforce_range is True or False, not {self.enforce_range!r}")


def compiled(model: Any, choices: Choices, precision: int, *, exact_truncation: bool = False) -> Draft:
    """The executable plan of a model, with its weights and the error to expect of its answers: the owner's alone.

    Args:
        precision: fractional bits, `precision_fractional` of cluster.yaml.
        exact_truncation: whether its `truncation` is "exact".

    Raises:
        ConfigError: a choice is nothing that it may be.
        UnsupportedModelError: lists everything in the model that cannot be lowered.
        InputError: the calibration data does not fit the model.
        PlanError: the range makes no sense, or the model exceeds a limit; names the layer and what to do.
    """
    recorded = draft_of(model, choices.input_range, precision=precision, reveal=choices.reveal)
    data = None if choices.calibration is None else arrays_of(choices.calibration, recorded.plan)
    draft = optimise(
        recorded,
        precision=precision,
        calibration=data,
        saturate=choices.saturate,
        guard=choices.guard,
        enforce_range=choices.enforce_range,
        exact_truncation=exact_truncation,
    )
    evaluations = evaluations_of(choices.evaluation, draft.plan)
    return replace(draft, plan=replace(draft.plan, evaluations=evaluations))
