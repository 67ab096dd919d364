"""One figure, and what it is to reach."""

from __future__ import annotations

from typing import Any


class Row:
    """One line of the table: what, reached, target, and what the figure rests on."""

    def __init__(
        self,
        what: str,
        value: float,
        unit: str,
        target: float | None,
        detail: str = "",
        cpu_ms: float | None = None,
        *,
        at_least: bool = False,
    ) -> None:
        self.what, self.value, self.unit, self.target, self.detail = what, value, unit, target, detail
        self.cpu_ms = cpu_ms  # of all processes that take part
        self.at_least = at_least  # whether the target is to be reached from above

    @property
    def reached(self) -> str:
        if self.target is None:
            return ""
        good = self.value >= self.target if self.at_least else self.value <= self.target
        return "reached" if good else "MISSED"

    def line(self) -> str:
        target = "" if self.target is None else f"{self.target:.4g}"
        cpu = "" if self.cpu_ms is None else f"{self.cpu_ms:.3g}"
        return f"{self.what:<46}{self.value:>9.4g} {self.unit:<3}{target:>8}  {self.reached:<8}{cpu:>8}  {self.detail}"

    def record(self) -> dict[str, Any]:
        return {**vars(self), "reached": self.reached}


def mb(sent: tuple[int, int, int]) -> str:
    return "server0, 1, 2: " + ", ".join(f"{count / 1e6:.3f}" for count in sent) + " MB"
