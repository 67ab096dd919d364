"""Imports only point down, and TensorFlow stays at the owner."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "keras_private"

# From the bottom up. A module may import what stands below its own layer, and its own layer.
ORDER = (
    *("errors", "extras", "config", "sharing", "net", "plan", "mpc", "logs", "party"),
    *("client", "worker", "upload", "owner", "status", "managed", "cluster"),
    *("lowering", "inspection", "progress", "hook", "cli"),
)
ONLY = {"lowering": {"errors", "plan", "sharing"}}  # narrower than its place says
EXCEPT = {"cluster": {"keras_private.lowering.tfe.load"}}  # for tfe_config, when it is asked for
TENSORFLOW = {"tensorflow", "tf_encrypted", "keras", "tf_keras", "onnx"}
OWNER = {"lowering", "inspection", "hook"}

MODULES = sorted(PACKAGE.rglob("*.py"))


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Dotted names of all imports, in functions too, but not those for type checkers alone."""

    def visit(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for child in node.orelse:
                yield from visit(child)
            return
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = list(path.relative_to(PACKAGE.parent).parts[: -node.level]) if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            yield from visit(child)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")))


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
