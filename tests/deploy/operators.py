"""One operator's host in a test: the party's files as the pages say, and the jail that it runs in."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from keras_private.party.storage.keys import new_key

from . import DEPLOY, USER, test_systemd
from .jail import Jail, calls_of, write_filter
from .test_container import FINAL, environment, only
from .test_kubernetes import of_kind, written

ETC, CACHE, STATE = "/etc/keras-private", "/var/cache/keras-private", "/var/lib/keras-private"
_FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}


def folder(path: Path, user: int = 0, mode: int = 0o755) -> Path:
    path.mkdir(parents=True)
    os.chown(path, user, user)
    path.chmod(mode)
    return path


def _hand_over(path: Path, text: str, mode: int = 0o640) -> None:
    """A file of root's that the party's group may read."""
    path.write_text(text)
    os.chown(path, 0, USER)
    path.chmod(mode)


class Operator:
    """What the three kinds share.

    Args:
        place: a new folder for this operator's files.
        image: /opt/keras-private.
        certificates: what `keras-private certs` made.
        parties: of cluster.yaml, for this one machine.

    Attributes:
        words: the party's command; `kernels` is what compiles before.
        variables: all that there is in its environment.
        confined: where the filter of system calls is; "": none.
    """

    example: Path
    words: list[str]
    kernels: list[str]
    variables: dict[str, str]
    process: subprocess.Popen[str] | None = None
    confined = ""

    def __init__(self, name: str, place: Path, image: Path, certificates: Path, parties: Mapping[str, Any]) -> None:
        self.name, self.place, self.certificates = name, place, certificates / name
        self.metrics = parties[name]["metrics"]
        self.etc, self.state, self.cache = folder(place / "etc"), place / "state", place / "cache"
        data = yaml.safe_load(self.example.read_text()) | {"parties": parties, "metrics": None}
        (self.etc / "cluster.yaml").write_text(json.dumps(data))
        self.jail = Jail(folder(place / "root"), user=USER)
        self.arrange()
        self.jail.places = {**self.jail.places, "/opt/keras-private": image}

    def arrange(self) -> None:
        """Put files where they belong, and say what is run."""
        raise NotImplementedError

    def own_certificates(self) -> None:
        """Below etc, as `chown -R root:… ; chmod -R u=rwX,g=rX,o=` leaves them."""
        target = self.etc / "certs" / self.name
        shutil.copytree(self.certificates, target)
        for path in [target.parent, target, *target.iterdir()]:
            os.chown(path, 0, USER)
            path.chmod(0o750 if path.is_dir() else 0o640)

    def start(self) -> None:
        command = self.jail.command(self.words, self.variables, ETC, self.confined)
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.process.communicate()
        try:
            with urllib.request.urlopen(f"http://{self.metrics}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def proc(self, name: str, separator: str) -> dict[str, str]:
        """What /proc says of the party's process: `status` or `limits`."""
        assert self.process is not None
        lines = Path(f"/proc/{self.process.pid}/{name}").read_text().splitlines()
        return {line.partition(separator)[0]: line.partition(separator)[2].strip() for line in lines}

    def ask(self, *words: str) -> tuple[int, str]:
        """Run `keras-private` with these words where the party runs; exit code, and what it printed."""
        command = self.jail.command([self.words[0], *words], self.variables, ETC)
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        return done.returncode, done.stdout + done.stderr

    def stop(self) -> tuple[int, str]:
        """As a service manager does; exit code, and what the party printed."""
        if self.process is None:
            return 0, ""
        if self.process.poll() is None:
            self.process.terminate()
        text, _ = self.process.communicate(timeout=60)
        return self.process.returncode, text

    def close(self) -> None:
        """End all that was begun."""
        self.stop()


class ByContainer(Operator):
    example = DEPLOY / "container" / "cluster.yaml"

    def arrange(self) -> None:
        self.own_certificates()
        _hand_over(self.etc / "storage.key", new_key())
        self.jail.places = {ETC: self.etc}
        self.jail.writable = {STATE: folder(self.state, USER, 0o700), CACHE: folder(self.cache, USER, 0o700)}
        self.variables = environment(FINAL)
        (service,) = yaml.safe_load((DEPLOY / "container" / "compose.yaml").read_text())["services"].values()
        self.words = [*json.loads(only(FINAL, "ENTRYPOINT")), *service["command"][:-1], self.name]
        self.kernels = ["python", "-m", "keras_private.mpc.kernels"]


class ByUnit(Operator):
    """
    Attributes:
        manager: gets what the party tells systemd.
    """

    example = DEPLOY / "systemd" / "cluster.yaml"

    def arrange(self) -> None:
        self.own_certificates()
        service = test_systemd.settings("Service", self.name)
        run, kept = folder(self.place / "run"), folder(self.place / "credentials", USER, 0o500)
        (kept / "storage.key").write_text(new_key())
        os.chown(kept / "storage.key", USER, USER)
        (kept / "storage.key").chmod(0o400)
        credentials = "/run/credentials/" + test_systemd.INSTANCE.replace("server0", self.name)
        self.jail.places = {ETC: self.etc, credentials: kept, "/run/systemd": run}
        state, cache = (folder(path, USER, 0o700) for path in (self.state, self.cache))
        (state_at,), (cache_at,) = service["StateDirectory"], service["CacheDirectory"]
        self.jail.writable = {f"/var/lib/{state_at}": state, f"/var/cache/{cache_at}": cache}
        words = [word for line in service["Environment"] for word in shlex.split(line)]
        self.variables = {"PATH": "/usr/bin:/bin", "NOTIFY_SOCKET": "/run/systemd/notify"}
        self.variables |= dict(word.split("=", 1) for word in words)
        self.words, self.kernels = (shlex.split(service[name][0]) for name in ("ExecStart", "ExecStartPre"))
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(run / "notify"))
        self.manager.settimeout(60)
        (run / "notify").chmod(0o777)
        if shutil.which("systemd-analyze"):
            allowed = [each for each in service["SystemCallFilter"] if each[0] != "~"]
            denied = [word for each in service["SystemCallFilter"] if each[0] == "~" for word in each[1:].split()]
            families = [_FAMILIES[word] for word in service["RestrictAddressFamilies"][0].split()]
            write_filter(run / "filter", calls_of(allowed) - calls_of(denied), families)
            self.confined = "/run/systemd/filter"

    def close(self) -> None:
        super().close()
        self.manager.close()


class ByPod(Operator):
    example = DEPLOY / "kubernetes" / "base" / "cluster.yaml"

    def arrange(self) -> None:
        pod = of_kind(written(), "StatefulSet")["spec"]["template"]["spec"]
        (party,), (kernels,) = pod["containers"], pod["initContainers"]
        tls, key = folder(self.place / "tls"), folder(self.place / "key")
        for name, source in (("ca.crt", "ca.crt"), ("tls.crt", f"{self.name}.crt"), ("tls.key", f"{self.name}.key")):
            _hand_over(tls / name, (self.certificates / source).read_text(), 0o440)  # 0400, and what fsGroup adds
        _hand_over(key / "storage.key", new_key(), 0o440)
        read = {"cluster": self.etc, "tls": tls, "storage-key": key}
        written_to = {"storage": folder(self.state), "kernels": folder(self.cache)}
        for path in written_to.values():
            os.chown(path, 0, USER)  # fsGroup again
            path.chmod(0o2770)
        mounts = {each["name"]: each["mountPath"] for each in party["volumeMounts"]}
        self.jail.places = {mounts[name]: path for name, path in read.items()}
        self.jail.writable = {mounts[name]: path for name, path in written_to.items()}
        self.variables = environment(FINAL)
        arguments = [word.replace("$(PARTY)", self.name).replace("$(REPLICA)", "0") for word in party["args"]]
        self.words = [*json.loads(only(FINAL, "ENTRYPOINT")), *arguments]
        self.kernels = kernels["command"]
