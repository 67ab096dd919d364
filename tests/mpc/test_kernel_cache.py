"""Where compiled kernels go, and what is said when they can go nowhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from keras_private.errors import ConfigError
from keras_private.mpc import kernels

_ACCESS = os.access


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine on which nothing can be written to, but for this folder. (Modes do not keep root out.)"""
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).is_relative_to(tmp_path) and _ACCESS(path, mode))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    return tmp_path


def test_a_place_that_is_named_or_beside_the_package_will_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kernels.check_cache()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "to" / "be" / "made"))
    kernels.check_cache()


def test_one_place_is_enough(read_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(read_only / "kernels"))
    kernels.check_cache()


def test_no_place_is_an_error_that_names_them_all(read_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/read/only")
    with pytest.raises(
        ConfigError, match=r"kept nowhere \(/read/only, .*__pycache__, .*numba cannot .* NUMBA_CACHE_DIR"
    ):
        kernels.check_cache()


def test_a_file_is_no_place(read_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (read_only / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(read_only / "file" / "below"))
    with pytest.raises(ConfigError):
        kernels.check_cache()


def test_the_command_says_it_in_a_line(tmp_path: Path) -> None:
    code = "import os, runpy; os.access = lambda *_: False; "
    code += "runpy.run_module('keras_private.mpc.kernels', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "NUMBA_CACHE_DIR" in done.stderr
