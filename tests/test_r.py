"""The R examples, run by Rscript for real: one process serves, another asks.

Needs R with reticulate, and `KERAS_PRIVATE_R_PYTHON`, a Python with this package that reticulate can use (`make venv-r`
makes one; `make test` finds it). Without them the tests skip, unless `KERAS_PRIVATE_REQUIRE_R` is set, as in CI.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

from tests.processes import ROOT, Script, clean_environment, is_free

pytestmark = pytest.mark.slow
README = (ROOT / "examples" / "r" / "README.md").read_text(encoding="utf-8")


def unavailable(reason: str) -> NoReturn:
    if os.environ.get("KERAS_PRIVATE_REQUIRE_R"):
        pytest.fail(f"KERAS_PRIVATE_REQUIRE_R is set, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def rscript() -> str:
    found = shutil.which("Rscript")
    if found is None:
        unavailable("Rscript is not installed (Debian: r-base-core, r-cran-reticulate)")
    if subprocess.run([found, "-e", "library(reticulate)"], capture_output=True, timeout=60, check=False).returncode:
        unavailable("R has no reticulate (Debian: r-cran-reticulate)")
    return found


@pytest.fixture
def env(rscript: str, tmp_path: Path) -> dict[str, str]:
    python = os.environ.get("KERAS_PRIVATE_R_PYTHON", "")
    if not Path(python).is_file():
        unavailable("KERAS_PRIVATE_R_PYTHON names no Python for reticulate (`make venv-r` makes one)")
    return clean_environment(tmp_path, RETICULATE_PYTHON=python)


@pytest.fixture
def ports(free_ports: Callable[[], list[int]]) -> list[int]:
    return free_ports()


@pytest.fixture
def serve(rscript: str, env: dict[str, str], ports: list[int]) -> Iterator[Script]:
    script = Script([rscript, ROOT / "examples" / "r" / "serve.R", *map(str, ports)], env)
    try:
        script.wait_for("Ready")
        yield script
    finally:
        script.kill()


def test_serve_and_client(rscript: str, env: dict[str, str], serve: Script, ports: list[int]) -> None:
    family = serve.family()
    client = Script([rscript, ROOT / "examples" / "r" / "client.R", *map(str, ports)], env)
    assert client.finish() == 0, client.text
    servers, clients = (block.splitlines() for block in re.findall(r"```text\n(.+?)```", README, re.DOTALL))
    assert client.lines == clients
    assert serve.finish() == 0, serve.text
    printed = [line for line in serve.lines if re.match(r"Ready|Served|TFE|\[1\]", line)]  # R prints values as [1] …
    assert printed == servers
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    assert all(is_free(port) for port in ports)
