from __future__ import annotations

from tests.ops.sample import Sample

SAMPLES = {
    "reshape": [
        Sample(((2, 33),), {"shape": (66,)}, bits=(0,)),
        Sample(((3, 5),), {"shape": (5, 1, 3)}),
        Sample(((1,),), {"shape": ()}),
    ],
    "transpose": [
        Sample(((3, 5, 2),), {"perm": (2, 0, 1)}, bits=(0,)),
        Sample(((3, 5, 2),), {"perm": (2, 0, 1)}),
        Sample(((),), {"perm": ()}),
    ],
    "pad": [
        Sample(((3, 1),), {"paddings": ((0, 2), (1, 0))}, bits=(0,)),
        Sample(((3, 1),), {"paddings": ((0, 2), (1, 0))}),
        Sample(((3, 1, 2),), {"paddings": ((0, 2), (1, 0), (0, 0))}),
        Sample(((),), {"paddings": ()}),
    ],
    "slice": [
        Sample(((3, 5),), {"starts": (1, 0), "stops": (2, 5), "strides": (1, 2)}, bits=(0,)),
        Sample(((3, 5),), {"starts": (1, 0), "stops": (2, 5), "strides": (1, 2)}),
        Sample(((3, 4),), {"starts": (0, 3), "stops": (3, 4), "strides": (1, 9)}),
        Sample(((3, 4),), {"starts": (0, 0), "stops": (3, 4), "strides": (1, 1)}),
        Sample(((),), {"starts": (), "stops": (), "strides": ()}),
    ],
    "stack": [
        Sample(((3, 2), (3, 2)), {"axis": 0}, bits=(0, 1)),
        Sample(((3, 2), (3, 2), (3, 2)), {"axis": 1}),
        Sample(((3, 2), (3, 2)), {"axis": 2}),
        Sample(((),), {"axis": 0}),
    ],
    "concat": [
        Sample(((3, 1), (3, 2)), {"axis": 1}, bits=(0, 1)),
        Sample(((3, 1), (3, 2), (3, 5)), {"axis": 1}),
        Sample(((3, 1, 2), (3, 4, 2)), {"axis": 1}),
        Sample(((4,),), {"axis": 0}),
    ],
    "gather": [
        Sample(((3, 5),), {"axis": 1, "indices": (4, 4, 0)}, bits=(0,)),
        Sample(((3, 5),), {"axis": 1, "indices": (4, 4, 0)}),
        Sample(((3, 1),), {"axis": 0, "indices": (2, 0, 1)}),
        Sample(((3, 2, 4),), {"axis": 2, "indices": (3, 1)}),
    ],
}
