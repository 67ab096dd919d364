"""Helpers for tests that run the project's scripts as a person would: real processes, on free ports."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 120.0


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def write_config(folder: Path, ports: Sequence[int]) -> Path:
    """A cluster.yaml of three local parties on these ports."""
    path = folder / "cluster.yaml"
    parties = "".join(f"  server{i}: {{host: localhost:{port}, auto_managed: true}}\n" for i, port in enumerate(ports))
    path.write_text(f"cluster: test\nparties:\n{parties}")
    return path


def clean_environment(folder: Path, **more: str) -> dict[str, str]:
    """This environment with a home for certificates and a folder for temporary files under `folder`."""
    for name in ("home", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    paths = {"KERAS_PRIVATE_HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}
    return os.environ | paths | {"PYTHONUNBUFFERED": "1"} | more


class Script:
    """A running command in a session of its own, so that a signal to the group is what Ctrl-C in a terminal is."""

    def __init__(self, command: Sequence[str | Path], env: Mapping[str, str]) -> None:
        self.lines: list[str] = []
        self._coming: queue.Queue[str | None] = queue.Queue()
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._coming.put(line.rstrip("\n"))
        self._coming.put(None)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, start: str, seconds: float = SECONDS) -> None:
        """Wait for a line that starts so; fail with all that was printed when it does not come."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._coming.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line {start!r} within {seconds} s:\n{self.text}") from None
            if line is None:
                self._coming.put(None)
                raise AssertionError(f"ended without a line {start!r}:\n{self.text}")
            self.lines.append(line)
            if line.startswith(start):
                return

    def family(self) -> list[psutil.Process]:
        """The process and all its descendants."""
        process = psutil.Process(self._process.pid)
        return [process, *process.children(recursive=True)]

    def interrupt(self) -> None:
        """Ctrl-C: SIGINT to the whole foreground group."""
        os.killpg(self._process.pid, signal.SIGINT)

    def terminate(self) -> None:
        """SIGTERM to the script alone, as a service manager sends it."""
        self._process.send_signal(signal.SIGTERM)

    def finish(self, seconds: float = SECONDS) -> int:
        """Wait for the end; return the exit code. What it printed is in `lines` then."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still running after {seconds} s:\n{self.text}") from None
        while (line := self._coming.get(timeout=seconds)) is not None:
            self.lines.append(line)
        self._coming.put(None)
        return code

    def kill(self) -> None:
        """End whatever is left of the family."""
        if self._process.poll() is None:
            for each in self.family():
                each.kill()
            self._process.wait(SECONDS)
