"""Fuzzes one target with atheris: `python -m tests.fuzz.one <target> <options of libFuzzer> <folders>`."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["keras_private"], enable_loader_override=False):
    from tests.fuzz.targets import TARGETS

from tests.fuzz.trees import mutated


def main() -> None:
    target = TARGETS[sys.argv.pop(1)]

    def change(data: bytes, longest: int, seed: int) -> bytes:
        found = mutated(data, seed, longest) if seed % 4 else None
        return atheris.Mutate(data, longest) if found is None else found

    atheris.Setup(sys.argv, target.run, **({"custom_mutator": change} if target.tree else {}))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
