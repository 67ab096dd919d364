"""What a check finds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    GOOD = "good"
    WARNING = "warning"
    """It works, for now, or is less safe than it could be."""
    WRONG = "wrong"
    """It does not work so."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`about`: what was looked at, in a word or two; `do`: what helps, empty if nothing need be done."""

    level: Level
    about: str
    says: str
    do: str = ""


Findings = Iterator[Finding]


def good(about: str, says: str) -> Finding:
    return Finding(Level.GOOD, about, says)


def warning(about: str, says: str, do: str) -> Finding:
    return Finding(Level.WARNING, about, says, do)


def wrong(about: str, says: str, do: str) -> Finding:
    return Finding(Level.WRONG, about, says, do)


def exit_code(findings: Iterable[Finding]) -> int:
    """0: all is good; 1: there are warnings; 2: something is wrong."""
    levels = {finding.level for finding in findings}
    return 2 if Level.WRONG in levels else 1 if Level.WARNING in levels else 0
