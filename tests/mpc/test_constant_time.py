"""No kernel's compiled code decides anything by a share.

Theory of operation. Each kernel is compiled anew for the types that the protocols call it with, and what LLVM's
optimiser made of it is read back. Every number that it loads from an array counts as secret, and so does whatever is
computed from a secret. (Sizes, strides and scalar arguments come as arguments and are public.) A secret may be added,
multiplied, shifted, masked and stored. It may not be compared, select, steer a jump, be an address, be divided or
leave for a function: in machine code each of these may take a time that depends on it. Without comparisons and selects
there is nothing left that the last step, to machine code, could turn into a jump.
"""

from __future__ import annotations

import ctypes
import importlib
import pkgutil
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
import pytest
from numba.core.registry import CPUDispatcher

from keras_private.mpc import kernels

HARMLESS = {  # what may be done with a secret
    *("add", "sub", "mul", "shl", "lshr", "ashr", "and", "or", "xor", "trunc", "zext", "sext", "bitcast", "freeze"),
    *("phi", "extractelement", "insertelement", "shufflevector", "extractvalue", "insertvalue"),
}
INTRINSICS = ("llvm.fshl.", "llvm.fshr.", "llvm.vector.", "llvm.bswap.")  # rotations and rearrangements


def all_kernels() -> dict[str, CPUDispatcher]:
    names = [info.name for info in pkgutil.iter_modules(kernels.__path__) if info.name != "__main__"]
    modules = [importlib.import_module(f"{kernels.__name__}.{name}") for name in names]
    return {
        f"{module.__name__.rpartition('.')[2]}.{name}": kernel
        for module in modules
        for name, kernel in vars(module).items()
        if isinstance(kernel, CPUDispatcher)
    }


def identity(value: Any) -> int | None:
    return ctypes.cast(value._ptr, ctypes.c_void_p).value


def decisions(function: Any) -> list[str]:
    """The instructions of a compiled function that do something with a secret that they may not do."""
    instructions = [instruction for block in function.blocks for instruction in block.instructions]
    secret: set[int | None] = set()
    found = -1
    while found != len(secret):  # until there is nothing new: loops carry secrets backwards
        found = len(secret)
        for instruction in instructions:
            loaded = instruction.opcode == "load" and str(instruction.type) != "ptr"
            if loaded or any(identity(operand) in secret for operand in instruction.operands):
                secret.add(identity(instruction))
    return [str(instruction).strip() for instruction in instructions if not allowed(instruction, secret)]


def allowed(instruction: Any, secret: set[int | None]) -> bool:
    operands = list(instruction.operands)
    tainted = [identity(operand) in secret for operand in operands]
    if not any(tainted) or instruction.opcode in HARMLESS:
        return True
    if instruction.opcode == "store":
        return not tainted[1]  # the value, but not the address
    return instruction.opcode == "call" and operands[-1].name.startswith(INTRINSICS)


def compiled_decisions(kernel: CPUDispatcher, signature: Any) -> list[str]:
    fresh = numba.njit(nogil=True)(kernel.py_func)  # what comes from the cache has no code to look at
    fresh.compile(signature)
    functions = [
        function
        for function in llvm.parse_assembly(fresh.inspect_llvm(signature)).functions
        # What numba puts around a kernel looks at arrays' headers, never at what they hold.
        if not function.is_declaration and not function.name.startswith(("_ZN7cpython", "cfunc.", "NRT_"))
    ]
    assert any(kernel.__name__ in function.name for function in functions)
    return [line for function in functions for line in decisions(function)]


@pytest.mark.parametrize("name", all_kernels())
def test_no_kernel_decides_by_a_share(name: str) -> None:
    kernels.warm_up()
    kernel = all_kernels()[name]
    inlined = name.partition(".")[2].startswith("_")  # and so looked at within those that call it
    assert kernel.signatures or inlined, "kernels.warm_up does not compile it"
    for signature in kernel.signatures:
        assert not compiled_decisions(kernel, signature)


def masked(x: Any, bits: Any, out: Any) -> None:
    """As it reads there is no jump; LLVM makes one of it."""
    for i in range(x.size):
        out[i] = x[i] & (np.uint64(0) - ((bits[i >> 6] >> np.uint64(i & 63)) & np.uint64(1)))


def branched(x: Any, bits: Any, out: Any) -> None:
    for i in range(x.size):
        if bits[i] & np.uint64(1):
            out[i] += x[i]


def looked_up(x: Any, bits: Any, out: Any) -> None:
    for i in range(x.size):
        out[i] = x[bits[i]]


def divided(x: Any, bits: Any, out: Any) -> None:
    for i in range(x.size):
        out[i] = x[i] // (bits[i] | np.uint64(1))


def stopped_early(x: Any, bits: Any, out: Any) -> None:
    i = 0
    while i < x.size and x[i] == bits[i]:
        i += 1
    out[0] = np.uint64(i)


@pytest.mark.parametrize("function", [masked, branched, looked_up, divided, stopped_early])
def test_a_decision_would_be_noticed(function: Any) -> None:
    kernel = numba.njit(nogil=True)(function)
    array = numba.types.Array(numba.uint64, 1, "C")
    assert compiled_decisions(kernel, (array, array, array))
