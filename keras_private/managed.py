"""A party that runs as a child process of the owner's, and is kept running (`auto_managed: true`).

Theory of operation. The process is told its configuration on its standard input, and that pipe is also its lifeline:
when this process ends, however it ends, the pipe closes and the party stops. Once it is ready, a thread waits for its
end. If that comes unasked, the thread reaps it, says so in the log, and starts another one after a pause, which
doubles as long as they die young. The new one holds no model; whoever serves shares it again.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path
from typing import Any

from keras_private.config import START_S, ClusterConfig
from keras_private.errors import StartError
from keras_private.logs import LEVEL_VARIABLE, party_log

_STOP_S = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 30.0
_GROWN_UP_S = 60.0  # one that has run for so long may be started again without a longer pause
_READY, _FAILED = "ready", "failed "


class ManagedParty:
    """One party as a child process; starts at once. `wait_ready` belongs to whoever made it, the rest to any thread.

    Raises:
        StartError: the system starts no more processes.
    """

    def __init__(self, name: str, config: ClusterConfig) -> None:
        self._name = name
        self._config = config
        self._log = party_log(name, "warning")
        self._lock = threading.Lock()  # a process is started under it, and none once `_closing` is set
        self._closing = threading.Event()
        self._process = _Process(name, config)
        self._thread = threading.Thread(target=self._live, name=f"{name} supervisor", daemon=True)

    @property
    def pid(self) -> int:
        """Of the process that runs now, or of the last one."""
        return self._process.pid

    def wait_ready(self, deadline: float) -> None:
        """Wait until the party listens; from then on it is kept running.

        Raises:
            StartError: it did not start; names it and the cause.
        """
        self._process.wait_ready(deadline)
        self._thread.start()

    def ask_to_stop(self) -> None:
        with self._lock:
            self._closing.set()
        self._process.ask_to_stop()

    def wait_stopped(self) -> None:
        """The end of the process, by force if need be."""
        self._process.wait_stopped()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)
        self._process.close()

    def _live(self) -> None:
        pause, born = _FIRST_PAUSE_S, time.monotonic()
        while True:
            code = self._process.wait_ended()
            if self._closing.is_set():
                return
            if time.monotonic() - born > _GROWN_UP_S:
                pause = _FIRST_PAUSE_S
            self._log.warning("party ended", code=code, restart_s=pause)
            if self._closing.wait(pause):
                return
            pause, born = min(2 * pause, _LONGEST_PAUSE_S), time.monotonic()
            try:
                self._restart()
            except Exception as error:  # noqa: BLE001  no memory, say: the next attempt is made after a longer pause
                cause = str(error) if isinstance(error, StartError) else type(error).__name__
                self._log.error("party not restarted", cause=cause)

    def _restart(self) -> None:
        with self._lock:
            if self._closing.is_set():
                return
            self._process.close()
            self._process = process = _Process(self._name, self._config)
        try:
            process.wait_ready(time.monotonic() + START_S)
        except StartError:
            process.ask_to_stop()
            process.wait_stopped()
            raise
        self._log.warning("party restarted", pid=process.pid)


class _Process:
    """A child process that runs a party."""

    def __init__(self, name: str, config: ClusterConfig) -> None:
        self._name = name
        environment = dict(os.environ)
        environment.setdefault(LEVEL_VARIABLE, "error")
        here = str(Path(__file__).resolve().parent.parent)  # the child must find this very package
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [here, environment.get("PYTHONPATH")]))
        if "LD_LIBRARY_PATH" in environment and sysconfig.get_config_var("Py_ENABLE_SHARED"):
            # R points the loader at the system's libraries, where another libpython of the same version may lie.
            libraries = str(sysconfig.get_config_var("LIBDIR"))
            environment["LD_LIBRARY_PATH"] = os.pathsep.join([libraries, environment["LD_LIBRARY_PATH"]])
        try:
            # A session of its own: Ctrl-C at the terminal is for us alone, we then end the parties in good order.
            self._process = subprocess.Popen(  # noqa: S603  our own interpreter and module
                [sys.executable, "-m", "keras_private.party", "--config", "-", "--name", name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise StartError(f"{name} could not be started: {error}") from None
        with contextlib.suppress(OSError):  # if it is gone already, wait_ready says why
            self._stdin.write(config.to_json().encode() + b"\n")
            self._stdin.flush()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def _stdin(self) -> Any:
        return self._process.stdin

    @property
    def _stdout(self) -> Any:
        return self._process.stdout

    def wait_ready(self, deadline: float) -> None:
        """Wait for the line in which the party says that it listens.

        Raises:
            StartError: it says something else, ends, or says nothing; names the party and the cause.
        """
        poller = select.poll()
        poller.register(self._stdout, select.POLLIN)
        if not poller.poll(1000 * max(0.0, deadline - time.monotonic())):
            raise StartError(f"{self._name} did not start in time")
        line = self._stdout.readline().decode(errors="replace").strip()
        if line == _READY:
            return
        if line.startswith(_FAILED):
            raise StartError(f"{self._name} did not start: {line.removeprefix(_FAILED)}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_S)
        raise StartError(
            f"{self._name} ended while starting, with exit code {self._process.returncode}; see its output"
        )

    def wait_ended(self) -> int:
        """Wait for its end, for as long as it runs, and reap it; its exit code."""
        return self._process.wait()

    def ask_to_stop(self) -> None:
        with contextlib.suppress(OSError):
            self._stdin.close()

    def wait_stopped(self) -> None:
        """The end of the process, by force if need be."""
        for insist in (None, self._process.terminate, self._process.kill):
            if insist is not None:
                insist()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_S)
                break

    def close(self) -> None:
        """Close both pipes, after its end."""
        self.ask_to_stop()
        self._stdout.close()
