"""`serve.py`, `client.py` and `demo.py` as a stranger runs them: processes of their own, nothing left behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.processes import ROOT, SECONDS, Script, clean_environment, is_free, write_config

pytest.importorskip("tensorflow")
pytestmark = pytest.mark.slow


@pytest.fixture
def ports(free_ports: Callable[[], list[int]]) -> list[int]:
    return free_ports()


@pytest.fixture
def config(tmp_path: Path, ports: list[int]) -> Path:
    return write_config(tmp_path, ports)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return clean_environment(tmp_path)


@pytest.fixture
def serve(config: Path, env: dict[str, str]) -> Iterator[Script]:
    """A `serve.py` that serves until it is stopped, ready."""
    script = Script([sys.executable, ROOT / "serve.py", "--config", config], env)
    try:
        script.wait_for("Ready")
        yield script
    finally:
        script.kill()


def client(config: Path, env: dict[str, str], *more: str | Path) -> Script:
    return Script([sys.executable, ROOT / "client.py", "--config", config, *more], env)


def predictions(lines: list[str]) -> list[tuple[int, int]]:
    found = [re.fullmatch(r"Actual: (\d), predicted: (\d)", line) for line in lines]
    return [(int(match[1]), int(match[2])) for match in found if match]


def assert_nothing_left(family: list[psutil.Process], ports: list[int], tmp_path: Path) -> None:
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    assert all(is_free(port) for port in ports)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_ctrl_c_after_a_client_leaves_nothing(
    serve: Script, config: Path, env: dict[str, str], ports: list[int], tmp_path: Path
) -> None:
    asked = client(config, env, "--images", "6", "--batch", "4", "--save", tmp_path / "answers.npz")
    assert asked.finish() == 0, asked.text
    assert predictions(asked.lines) == [(7, 7), (2, 2), (1, 1), (0, 0), (4, 4), (1, 1)]
    assert asked.lines[-1].startswith("6 of 6 right; median ")
    with np.load(tmp_path / "answers.npz") as answers:
        assert answers["logits"].shape == (6, 10)
        assert answers["seconds"].shape == (2,)

    family = serve.family()
    assert len(family) >= 4  # serve.py and three parties
    serve.interrupt()
    assert serve.finish() == 0, serve.text
    assert serve.lines[-1] == "Stopped; nothing is left running."
    assert "Traceback" not in serve.text
    assert_nothing_left(family, ports, tmp_path)


def test_sigterm_leaves_nothing(serve: Script, ports: list[int], tmp_path: Path) -> None:
    family = serve.family()
    serve.terminate()
    assert serve.finish() == 0, serve.text
    assert "Traceback" not in serve.text
    assert_nothing_left(family, ports, tmp_path)


def test_client_says_in_one_line_that_nobody_serves(config: Path, env: dict[str, str]) -> None:
    asked = client(config, env)
    assert asked.finish() == 1
    assert asked.text.startswith("client.py: ")
    assert "Traceback" not in asked.text


@pytest.mark.parametrize("arguments", [["--images", "0"], ["--images", "1001"], ["--batch", "0"]])
def test_client_refuses_a_count_that_makes_no_sense(config: Path, env: dict[str, str], arguments: list[str]) -> None:
    asked = client(config, env, *arguments)
    assert asked.finish() != 0
    assert arguments[0] in asked.text


@pytest.mark.parametrize("arguments", [["--num-requests", "0"], ["--model", "no-such-file.keras"]])
def test_serve_refuses_arguments_that_make_no_sense(config: Path, env: dict[str, str], arguments: list[str]) -> None:
    script = Script([sys.executable, ROOT / "serve.py", "--config", config, *arguments], env)
    assert script.finish() == 2
    assert arguments[0] in script.text
    assert "Traceback" not in script.text


def test_serve_says_in_one_line_what_is_wrong_with_the_config(tmp_path: Path, env: dict[str, str]) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("cluster: test\npartys: {}\n")
    script = Script([sys.executable, ROOT / "serve.py", "--config", broken], env)
    assert script.finish() == 1
    assert "partys" in script.text
    assert "Traceback" not in script.text


def test_client_needs_no_tensorflow() -> None:
    code = "import sys, client; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'tf_encrypted')))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_demo(config: Path, env: dict[str, str], ports: list[int], tmp_path: Path) -> None:
    script = Script([sys.executable, ROOT / "demo.py", "--config", config], env)
    assert script.finish() == 0, script.text
    pairs = predictions(script.lines)
    assert len(pairs) == 100
    assert sum(actual == predicted for actual, predicted in pairs) >= 98
    assert re.search(r"same prediction, private and plain: +100 of 100", script.text)
    difference = re.search(r"largest difference of a logit: +([0-9.]+)", script.text)
    assert difference
    assert float(difference[1]) <= 0.002
    assert re.search(r"median time of a private query: +[0-9.]+ ms", script.text)
    assert re.search(r"median time of model.predict: +[0-9.]+ ms", script.text)
    for noise in ("WARNING", "Traceback", "oneDNN", "cuda", "tensorflow/"):
        assert noise not in script.text
    assert all(is_free(port) for port in ports)
    assert list((tmp_path / "tmp").iterdir()) == []


# Standard output and error that are closed, or that nobody reads


def without(streams: str, *command: str | Path) -> list[str | Path]:
    """A command that a shell starts with some of its standard streams closed, as in `>&- 2>&-`."""
    return ["sh", "-c", f'exec "$@" {streams}', "sh", sys.executable, *command]


def unread(command: list[str | Path], env: dict[str, str]) -> subprocess.Popen[bytes]:
    """A command whose standard output and error are pipes that nobody reads any more, as after `| head -1`."""
    ends = [os.pipe() for _ in range(2)]
    for reader, _ in ends:
        os.close(reader)
    (_, out), (_, err) = ends
    try:
        return subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=err, start_new_session=True)
    finally:
        os.close(out)
        os.close(err)


@pytest.mark.parametrize("gone", ["closed", "unread"])
def test_serve_goes_on_without_a_terminal(
    gone: str, config: Path, env: dict[str, str], ports: list[int], tmp_path: Path, until: Callable[..., None]
) -> None:
    command: list[str | Path] = [ROOT / "serve.py", "--config", config, "--num-requests", "3"]
    if gone == "closed":
        serving = subprocess.Popen(without("<&- >&- 2>&-", *command), cwd=ROOT, env=env, start_new_session=True)
    else:
        serving = unread([sys.executable, *command], env)
    try:
        until(lambda: all(not is_free(port) for port in ports), "the parties listen", SECONDS)
        until(
            lambda: client(config, env, "--images", "1").finish() == 0 or serving.poll() is not None,
            "an answer",
            SECONDS,
        )
        family = [each.pid for each in psutil.Process(serving.pid).children(recursive=True)]
        assert len(family) == 3
        asked = client(config, env, "--images", "2")
        assert asked.finish() == 0, asked.text
        assert predictions(asked.lines) == [(7, 7), (2, 2)]
        assert serving.wait(SECONDS) == 0
        assert_nothing_left([], ports, tmp_path)
    finally:
        if serving.poll() is None:
            serving.terminate()
            serving.wait(SECONDS)


@pytest.mark.parametrize("gone", ["closed", "unread"])
def test_client_goes_on_without_a_terminal(
    gone: str, serve: Script, config: Path, env: dict[str, str], tmp_path: Path
) -> None:
    saved = tmp_path / "answers.npz"
    command: list[str | Path] = [ROOT / "client.py", "--config", config, "--images", "3", "--save", saved]
    if gone == "closed":
        asked = subprocess.Popen(without(">&- 2>&-", *command), cwd=ROOT, env=env)
    else:
        asked = unread([sys.executable, *command], env)
    assert asked.wait(SECONDS) == 0
    with np.load(saved) as answers:
        assert list(answers["logits"].argmax(axis=1)) == [7, 2, 1]


def test_demo_goes_on_without_a_terminal(config: Path, env: dict[str, str], ports: list[int], tmp_path: Path) -> None:
    demo = unread([sys.executable, ROOT / "demo.py", "--config", config, "--images", "2"], env)
    assert demo.wait(SECONDS) == 0
    assert_nothing_left([], ports, tmp_path)
