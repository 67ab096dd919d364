"""A model on its way in: the plan first, then each weight's package in pieces."""

from __future__ import annotations

import math

from keras_private.config import Limits
from keras_private.errors import InputError, PlanError
from keras_private.party.messages import Load, Weight
from keras_private.party.models import Facts, HeldModel, bind, fit
from keras_private.sharing.share import Package, Share


class Upload:
    """Takes the pieces in, in the order in which the plan names the weights.

    Nothing is allocated beyond what the checked plan calls for.

    Attributes:
        fitted: the checked plan.
        data: the plan as it came.
        shares: those that are complete, by the weight's name.

    Raises:
        PlanError: the plan does not parse, or is larger than the limits allow.
    """

    def __init__(self, load: Load, owner: str, limits: Limits) -> None:
        self.data = bytes(load.plan)
        self.fitted = fit(self.data, limits)
        self.shares: dict[str, Share] = {}
        self._load = load
        self._owner = owner
        self._due = [(name, part) for name in self.fitted.plan.weights for part in ("mine", "next")]
        self.parts = len(self._due)
        self._pieces = bytearray()
        self._first: bytes = b""

    @property
    def complete(self) -> bool:
        return not self._due

    def add(self, piece: Weight) -> None:
        """Take the next piece in.

        Raises:
            PlanError: it is not the one that is due, or has the wrong size.
        """
        if not self._due or (piece.name, piece.part) != self._due[0]:
            raise PlanError("a weight arrived out of turn; send them in the plan's order")
        shape = self.fitted.plan.weights[piece.name].shape
        if len(self._pieces) + len(piece.data) > max(8 * math.prod(shape), 32):
            raise PlanError(f"weight {piece.name!r} is larger than the plan says")
        self._pieces += piece.data
        if not piece.last:
            return
        self._due.pop(0)
        whole, self._pieces = bytes(self._pieces), bytearray()
        if piece.part == "mine":
            self._first = whole
            return
        try:
            self.shares[piece.name] = Package(self._first, whole).expand(shape)
        except InputError as error:
            raise PlanError(f"weight {piece.name!r}: {error}") from None

    def finish(self, version: int) -> HeldModel:
        """The whole model, bound to a program that can run; raises as `models.bind`."""
        facts = Facts(self._load.model, self._load.name, version, self._owner, self.fitted.digest)
        model = bind(facts, self.fitted, self.shares)
        model.made = self._load.made
        return model
