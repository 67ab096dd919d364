"""A process of the world: a party, a client or an owner, and what it says line by line."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

ROOT = Path(__file__).resolve().parents[2]


class Usage(NamedTuple):
    """Of a process: resident bytes, open descriptors, threads."""

    memory: int
    files: int
    threads: int


class Actor:
    """A child process that may be killed, paused and started again.

    Args:
        module: run with `python -m`.
        log: standard error goes to the end of this file.
        heard: called with each line of standard output, and the process' number (1 for its first life, and so on).
    """

    def __init__(self, module: str, arguments: Sequence[str], log: Path, heard: Callable[[str, int], None]) -> None:
        self.life = 0
        self._command = [sys.executable, "-m", module, *arguments]
        self._log = log
        self._heard = heard
        self._process: subprocess.Popen[str] | None = None
        self.paused = False

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, if it does not run."""
        if self.running:
            return
        self.life += 1
        self.paused = False
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=os.environ | {"PYTHONFAULTHANDLER": "1"},
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        threading.Thread(target=self._read, args=(self._process, self.life), daemon=True).start()

    def _read(self, process: subprocess.Popen[str], life: int) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._heard(line, life)

    def tell(self, **command: Any) -> None:
        """Send a command, if it runs; one that was just killed hears nothing."""
        if not self.running:
            return
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except OSError:
            pass

    def signal(self, number: int) -> None:
        if self.running:
            os.kill(self.pid, number)

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        self.signal(signal.SIGCONT)
        self.paused = False

    def kill(self, seconds: float = 10.0) -> None:
        """End it at once, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(seconds)

    def terminate(self, seconds: float) -> float | None:
        """SIGTERM; seconds until it had ended, or None if it did not within `seconds` (then it is killed)."""
        if not self.running:
            return 0.0
        assert self._process is not None
        self.resume()  # a stopped process does not end
        began = time.monotonic()
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGABRT)  # faulthandler writes into the log what each thread does
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5.0)
            self.kill()
            return None
        return time.monotonic() - began

    def usage(self) -> Usage:
        """What it takes at the moment."""
        process = psutil.Process(self.pid)
        with process.oneshot():
            return Usage(process.memory_info().rss, process.num_fds(), process.num_threads())
