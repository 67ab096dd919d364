"""The inputs that are kept: for each target a file of one input a line in hexadecimal; "#" begins a remark.

A crash that was found is kept there too, below a remark that says what it did.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"


def kept(target: str) -> list[bytes]:
    """All inputs that are kept for a target."""
    path = FOLDER / f"{target}.hex"
    lines = path.read_text().splitlines() if path.exists() else []
    return [bytes.fromhex(line) for line in lines if line and not line.startswith("#")]


def keep(target: str, inputs: Iterable[bytes]) -> int:
    """Add those that are new, the shortest first; returns how many there were."""
    new = sorted(set(inputs) - set(kept(target)), key=lambda data: (len(data), data))
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / f"{target}.hex").open("a") as file:
        file.writelines(f"{data.hex()}\n" for data in new)
    return len(new)
