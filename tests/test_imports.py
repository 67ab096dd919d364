"""Imports only point down and never in a circle, and TensorFlow stays at the owner."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "keras_private"

# From the bottom up. A module may import what stands below its own layer, and its own layer.
ORDER = (
    *("errors", "extras", "config", "sharing", "net", "plan", "mpc", "events", "logs", "tracing", "party"),
    *("progress", "client", "worker", "upload", "owner", "replicas", "status", "watch", "doctor", "managed", "cluster"),
    *("lowering", "calibration", "compiler", "inspection", "accuracy", "plotting", "hook", "cli"),
)
ONLY = {"lowering": {"errors", "plan", "sharing"}}  # narrower than its place says
EXCEPT = {"cluster": {"keras_private.lowering.tfe.load"}}  # for tfe_config, when it is asked for
TENSORFLOW = {"tensorflow", "tf_encrypted", "keras", "tf_keras", "onnx"}
OWNER = {"lowering", "compiler", "inspection", "accuracy", "hook"}

# Imports that are not at the top of their module, or for type checkers alone: only what would make somebody wait who
# has no need of it, never what would close a circle.
NUMBA = "numba comes with it: a party listens before it is there, and a client never needs it"
PARTY = "clients know clusters, too, and start no party"
COMMAND = "a command waits only for what it needs itself"
LATER = {
    "cli": {
        "party.__main__": COMMAND,
        "calibration": COMMAND,
        "inspection": COMMAND,
        "plotting": COMMAND,
        "owner": COMMAND,
        "party.storage.keys": COMMAND,
        "net": COMMAND,
        "status": COMMAND,
        "watch": COMMAND,
        "doctor": COMMAND,
    },
    "cluster": {"logs": PARTY, "managed": PARTY, "party.server": PARTY, "lowering.tfe": "TensorFlow comes with it"},
    "doctor": {"mpc": NUMBA},
    "lowering.model": {"lowering.recorder": "TF Encrypted comes with it; what cannot be lowered is said before"},
    "mpc.kernels": {"mpc.kernels": NUMBA},
    "party": {
        "mpc": NUMBA,
        "logs": "what is not installed is said first",
        "party.certificate": "what is not installed is said first",
        "party.server": "what is not installed is said first",
    },
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_of(path: Path) -> str:
    """The dotted name below the package; empty for the package itself."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


NAMES = {module_of(path) for path in MODULES}


def imports(path: Path, *, typing: bool = False, top: bool = True) -> Iterator[str]:
    """Dotted names of all imports, in functions too.

    Args:
        typing: those for type checkers, too.
        top: those at the top of the module, too.
    """

    def visit(node: ast.AST, late: bool) -> Iterator[str]:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for child in node.body if typing else []:
                yield from visit(child, True)
            for child in node.orelse:
                yield from visit(child, late)
            return
        if isinstance(node, ast.Import) and (top or late):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (top or late):
            parts = list(path.relative_to(PACKAGE.parent).parts[: -node.level]) if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        late = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, late)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), False)


def modules_of(names: Iterator[str]) -> Iterator[str]:
    """Which of the package's modules these names are of."""
    for name in names:
        if name.startswith("keras_private."):
            module = name.removeprefix("keras_private.")
            while module not in NAMES:
                module = module.rpartition(".")[0]
            yield module


def packages_of(module: str) -> Iterator[str]:
    """The packages that a module is in, except the outermost, whose names are loaded when they are asked for."""
    while module := module.rpartition(".")[0]:
        yield module


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    layer = layer_of(path)
    if layer == "__init__":  # imports nothing until a name is asked for
        assert not [name for name in imports(path) if name.startswith("keras_private.")]
        return
    assert layer in ORDER, f"give {layer} its place in ORDER"
    allowed = {layer} | (ONLY.get(layer) or set(ORDER[: ORDER.index(layer)]))
    for name in imports(path):
        if name.startswith("keras_private.") and name not in EXCEPT.get(layer, ()):
            assert name.split(".")[1] in allowed, f"{layer} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_tensorflow_stays_at_the_owner(path: Path) -> None:
    if layer_of(path) not in OWNER:
        assert not [name for name in imports(path) if name.split(".")[0] in TENSORFLOW]


def test_nothing_executes_what_it_received() -> None:
    """No pickle, marshal, eval or exec anywhere."""
    unsafe = {"pickle", "cloudpickle", "dill", "marshal", "shelve"}
    for path in MODULES:
        assert not {name.split(".")[0] for name in imports(path)} & unsafe, path
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), path


def test_no_module_needs_itself() -> None:
    """Not even for type checkers, or in a function. Whoever imports a module imports the packages around it, too."""
    needs: dict[str, set[str]] = {}
    for path in MODULES:
        if module := module_of(path):
            needed = set(modules_of(imports(path, typing=True)))
            around = {package for each in needed for package in packages_of(each)}
            needs[module] = (needed | around) - {module, *packages_of(module)} | needed - {module}
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1][::-1]))


def test_what_is_imported_late_has_a_reason() -> None:
    """Each import that is not at the top is listed, and nothing is listed that is not so imported."""

    def listed(module: str, target: str) -> tuple[str, str] | None:
        for place in (module, *packages_of(module)):
            for what in (target, *packages_of(target)):
                if what in LATER.get(place, {}):
                    return place, what
        return None

    found = set()
    for path in MODULES:
        module = module_of(path)
        for target in modules_of(imports(path, typing=True, top=False)) if module else ():
            entry = listed(module, target)
            assert entry, f"{module} imports {target} late, or for type checkers alone; import it at the top"
            found.add(entry)
    assert found == {(place, what) for place, targets in LATER.items() for what in targets}
