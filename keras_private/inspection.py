"""`check`: what would be refused of a model, and what it would cost, without a cluster."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_private.compiler import Choices, compiled
from keras_private.errors import ConfigError, InputError, KerasPrivateError, UnsupportedModelError
from keras_private.extras import require
from keras_private.lowering import LOGITS, compare_lowerings
from keras_private.lowering.foreign import Comparison
from keras_private.plan import memory, schedule, summary
from keras_private.plan.cost import Cost
from keras_private.plan.networks import NETWORKS, estimate
from keras_private.plan.origins import reaches
from keras_private.plan.plan import Accuracy, Plan

_SHARE_BYTES = 16  # a party holds two summands of every secret value


@dataclass(frozen=True, repr=False)
class Report:
    """What `check` found. Its text, also its repr, is for people; the rest for programs.

    problems: why the model cannot be shared, one line each; none if it can. lowerings: layers with a lowering of your
    own, compared with it. plan: what the parties would run, and accuracy: how exactly; None if there are problems.
    reaches: how far values go whose bound is not proved, see `private_summary`.
    """

    model: str
    batch: int
    problems: tuple[str, ...]
    lowerings: tuple[Comparison, ...]
    plan: Plan | None
    accuracy: Accuracy | None
    reaches: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Whether the model can be shared and every lowering of your own does what its layer does."""
        return not self.problems and all(comparison.agrees for comparison in self.lowerings)

    @property
    def rounds(self) -> int:
        """Exchanges among the parties that a query waits for."""
        return self._cost.rounds

    @property
    def sent(self) -> tuple[int, int, int]:
        """Bytes that each party sends to the other two for a query of `batch` rows."""
        return self._cost.sent

    @property
    def weight_bytes(self) -> int:
        """Memory that each party needs for its shares of the weights."""
        return _SHARE_BYTES * sum(math.prod(weight.shape) for weight in self._plan.weights.values())

    @property
    def run_bytes(self) -> int:
        """Memory that each party needs besides for a run of `batch` rows, about."""
        return self.batch * memory.row_bytes(self._plan)

    @property
    def network_seconds(self) -> dict[str, float]:
        """What a query waits for the network alone, by kind of network between the parties; computing comes on top."""
        return {network.name: estimate(self._cost, network) for network in NETWORKS}

    def __repr__(self) -> str:
        if self.plan is None:
            many = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
            lines = [f"model {self.model!r} cannot be shared, {many}:", *(f"  - {line}" for line in self.problems)]
            return "\n".join([*lines, *map(str, self.lowerings)])
        table = summary.private_summary(
            self.plan, batch=self.batch, title=self.model, accuracy=self.accuracy, reaches=self.reaches
        )
        held, run = summary.size(self.weight_bytes), summary.size(self.run_bytes)
        held = f"Memory of a party: {held} for its shares of the weights, and about {run} while this query runs."
        lines = [held, *map(str, self.lowerings)]
        return table + "\n".join(lines)

    @property
    def _plan(self) -> Plan:
        if self.plan is None:
            raise UnsupportedModelError(f"model {self.model!r} cannot be shared, so it has no cost", self.problems)
        return self.plan

    @property
    def _cost(self) -> Cost:
        return schedule.total(self._plan, self.batch)


def check(
    model: Any,
    input_range: Any = None,
    *,
    batch: int = 1,
    precision: int = 16,
    reveal: Any = LOGITS,
    calibration: Any = None,
    saturate: bool = True,
    guard: bool | None = None,
    enforce_range: bool = False,
    evaluation: Any = None,
    exact_truncation: bool = False,
) -> Report:
    """Say what `share` would say of a model and what a query would cost. Needs no cluster, sends nothing.

    Args:
        model: a Keras model.
        input_range, reveal, calibration, saturate, guard, enforce_range, evaluation: as for `share`.
        batch: rows of the query that costs are given for.
        precision: fractional bits, `precision_fractional` of cluster.yaml.
        exact_truncation: whether its `truncation` is "exact".

    Returns:
        A report; print it. `ok` says whether the model can be shared as it is. Lowerings of your own are compared with
        their layers.

    Raises:
        ConfigError: an argument makes no sense, or there is no Keras here.
        InputError: the calibration data does not fit the model.
    """
    require("owner", "check()")
    if type(batch) is not int or batch < 1:
        raise ConfigError(f"batch must be a whole number of 1 or more, not {batch!r}")
    if not hasattr(model, "layers"):
        raise ConfigError(f"check() takes a Keras model, not {type(model).__name__}")
    problems: tuple[str, ...] = ()
    compared: tuple[Comparison, ...] = ()
    plan = accuracy = None
    reached: dict[str, str] = {}
    try:
        compared = tuple(compare_lowerings(model, precision=precision, reveal=reveal))
        choices = Choices(
            input_range=input_range,
            reveal=reveal,
            calibration=calibration,
            saturate=saturate,
            guard=guard,
            enforce_range=enforce_range,
            evaluation=evaluation,
        )
        draft = compiled(model, choices, precision, exact_truncation=exact_truncation)
        plan, accuracy, reached = draft.plan, draft.accuracy, reaches(draft)
    except (ConfigError, InputError):
        raise
    except UnsupportedModelError as error:
        problems = error.problems
    except KerasPrivateError as error:
        problems = (str(error),)
    return Report(str(model.name), batch, problems, compared, plan, accuracy, reached)


def load(path: Path, keras: str = "keras") -> Any:
    """A model from a .keras file, without running code that the file may hold.

    Args:
        keras: the package to load it with, "keras" or "tf_keras".

    Raises:
        ConfigError: there is no such file, it is of another kind, or it cannot be loaded safely.
    """
    require("owner", "loading a model")
    if path.suffix != ".keras":
        raise ConfigError(f"{path} is no .keras file; model.save('{path.stem}.keras') writes one")
    if not path.is_file():
        raise ConfigError(f"there is no file {path}")
    import importlib

    try:
        return importlib.import_module(keras).models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever it runs into
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ConfigError(
            f"{keras} cannot load {path}: {reason} (code that the file holds, as of a Lambda layer, is not run; "
            "classes of your own need --import)"
        ) from error
