from __future__ import annotations

from typing import Any

from tests.ops.sample import Sample

PLAIN = {"drop": 0, "relu": False, "bound": 50}
DROP = {"drop": 9, "relu": False, "bound": 50}
FUSED = {"drop": 9, "relu": True, "bound": 45}


def by(equation: str, **attrs: Any) -> dict[str, Any]:
    return {**(attrs or PLAIN), "equation": equation}


SAMPLES = {
    "mul": [
        Sample(((3, 5),), {"drop": 0, "relu": False, "bound": 45}, ((5,),), (9,)),
        Sample(((3, 1, 5),), {"drop": 9, "relu": False, "bound": 45}, ((3, 1, 1),), (9,)),
        Sample(((7,),), {"drop": 20, "relu": True}, ((),), (20,)),
        Sample(((3, 5), (3, 5)), FUSED),
        Sample(((3, 1, 2), (1, 4, 2)), {**DROP, "drop": 16}),
        Sample(((), ()), PLAIN),
        Sample(((1,),), {"drop": 9, "relu": False, "bound": 45}, ((1,),), (9,)),
        Sample(((1,), (1,)), FUSED),
    ],
    "square": [
        Sample(((3, 5),), {"drop": 0, "bound": 41}),
        Sample(((7,),), {"drop": 16}),
        Sample(((),), {"drop": 9, "bound": 41}),
    ],
    "einsum": [
        Sample(((2, 3, 4), (2, 5, 4)), by("hik,hjk->hij")),  # a matrix for each h
        Sample(((3, 4), (4,)), by("ij,j->i", **FUSED)),
        Sample(((3,), (4,)), by("i,j->ji", **DROP)),
        Sample(((3, 3, 2), (2, 2)), by("iik,kk->ki")),  # diagonals
        Sample(((2, 3), (4, 5)), by("ij,kl->l")),  # each side summed alone
        Sample(((2, 1, 4), (3, 4)), by("hik,ik->ih")),  # one that broadcasts
        Sample(((3,), (3,)), by("i,i->", **DROP)),
        Sample(((), (2,)), by(",i->i")),
        Sample(((3, 4),), by("ij,kj->ki", **FUSED), ((5, 4),), (9,)),  # the weight on the left: w @ x.T
        Sample(((2, 3),), by("hi,hij->jh", **DROP), ((2, 3, 4),), (9,)),
        Sample(((1, 3),), by("ji,ijk->i"), ((3, 2, 2),), (9,)),  # weights that meet one value in a sum
        Sample(((2, 1), (2, 1)), by("ik,ij->jk", **FUSED)),
    ],
}
