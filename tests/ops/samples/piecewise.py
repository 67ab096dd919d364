from __future__ import annotations

from typing import Any

from tests.ops.sample import Sample


def of(name: str, *parameters: float, goal: int = 20, frac: int = 28) -> dict[str, Any]:
    return {"function": name, "parameters": parameters, "goal": goal, "frac": frac}


SAMPLES = {
    "spline": [
        Sample(((3, 5),), of("gelu")),
        Sample(((70,),), of("tanh", frac=24), bound=40),
        Sample(((7,),), of("reciprocal", 2.0**-2, 2.0**8, 0.0, goal=18, frac=32)),
        Sample(((2,),), of("elu", 0.5, goal=16), bound=9),
        Sample(((),), of("sigmoid")),
    ],
}
