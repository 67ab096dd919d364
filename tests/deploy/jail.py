"""Runs a command as a container runtime or systemd would: in a read-only file system of its own, as nobody.

It takes root, and Linux' namespaces: `unshare` gives the process its own view of what is mounted, in which a new root
is put together from this machine's system folders and from what the caller names; `chroot` enters it, `setpriv` gives
up every right. The process keeps its number, so signals and exit codes are its own.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_TOOLS = ("unshare", "chroot", "setpriv", "prlimit", "env", "mount")
_ETC = ("ssl", "resolv.conf", "hosts", "nsswitch.conf", "passwd", "group", "ld.so.cache", "pip.conf")
PYTHON = os.path.realpath(getattr(sys, "_base_executable", sys.executable))  # that of the system, beneath a venv

# Loads the filter in the file named first, then becomes what follows.
_FILTERED = """
import ctypes, os, sys
code = open(sys.argv[1], "rb").read()
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]
program = Program(len(code) // 8, code)
if ctypes.CDLL(None, use_errno=True).prctl(22, 2, ctypes.byref(program), 0, 0):
    sys.exit(os.strerror(ctypes.get_errno()))
os.execv(sys.argv[2], sys.argv[2:])
"""


def reason_against() -> str:
    """Why this machine can do no such thing; empty if it can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "takes root on Linux"
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"takes {', '.join(missing)}"
    done = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "jail", "/mnt"], capture_output=True, check=False
    )
    return "" if done.returncode == 0 else "takes namespaces and mounts"


@dataclass
class Jail:
    """A file system, and who is in it.

    Attributes:
        root: an empty folder.
        places: by the path in there, the folder of this machine that is seen there, read-only.
        writable: the same, to be written to.
        user: number of the user and the group; 0 stays root.
    """

    root: Path
    places: Mapping[str, Path] = field(default_factory=dict)
    writable: Mapping[str, Path] = field(default_factory=dict)
    user: int = 0

    def command(
        self, words: Sequence[str], environment: Mapping[str, str], folder: str = "/", filtered: str = ""
    ) -> list[str]:
        """What runs `words` in there, with nothing but this environment.

        Args:
            folder: where it runs.
            filtered: a file in there with the system calls that it may make, by `write_filter`.
        """
        inner = ["env", "-i", *(f"{name}={value}" for name, value in environment.items())]
        if self.user:
            rights = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--clear-groups"]
            inner += ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", *rights]
        if filtered:
            inner += [PYTHON, "-I", "-S", "-c", _FILTERED, filtered]
        inner += words
        chroot = ["chroot", str(self.root), "env", "-C", folder, *inner]
        script = "\n".join(["set -eu", *self._mounts(), f"exec {shlex.join(chroot)}"])
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]

    def run(self, words: Sequence[str], environment: Mapping[str, str], folder: str = "/") -> str:
        """Run it to its end; what it printed. Fails with all of that if it does not end well."""
        done = subprocess.run(
            self.command(words, environment, folder),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=500, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{shlex.join(words)}:\n{done.stdout[-3000:]}"
        return done.stdout

    def _mounts(self) -> list[str]:
        root = shlex.quote(str(self.root))
        lines = [f"mount -t tmpfs -o mode=0755 jail {root}", f"mkdir {root}/dev {root}/proc"]
        lines += [
            f"mkdir {root}/etc",
            *(f"cp -a /etc/{each} {root}/etc/" for each in _ETC if Path("/etc", each).exists()),
        ]
        system = {"/usr": Path("/usr")}
        for name in ("bin", "sbin", "lib", "lib32", "lib64"):
            if (path := Path("/", name)).is_symlink():
                lines.append(f"ln -s {shlex.quote(os.readlink(path))} {root}/{name}")
            elif path.is_dir():
                system[f"/{name}"] = path
        prefix = Path(sys.base_prefix).resolve()
        if not prefix.is_relative_to("/usr"):
            system[str(prefix)] = prefix
        for where, source in {**system, **self.places, **self.writable}.items():
            place = f"{root}{shlex.quote(where)}"
            lines += [f"mkdir -p {place}", f"mount --bind {shlex.quote(str(source))} {place}"]
            if where not in self.writable:
                lines.append(f"mount -o remount,bind,ro {place}")
        lines += [f"mount --rbind /dev {root}/dev", f"mount -t proc -o hidepid=invisible,subset=pid proc {root}/proc"]
        return [*lines, f"mount -o remount,ro {root}"]


def calls_of(groups: Sequence[str]) -> set[str]:
    """The system calls in groups as systemd names them."""
    found: set[str] = set()
    for group in groups:
        done = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True)
        words = [line.strip() for line in done.stdout.splitlines()[1:] if not line.strip().startswith("#")]
        found |= {word for word in words if word and word[0] != "@"}
        found |= calls_of([word for word in words if word.startswith("@")])
    return found


def write_filter(path: Path, allowed: set[str], families: Sequence[int]) -> None:
    """A filter that lets a process make these system calls, and sockets of these families; all else is EPERM."""
    import pyseccomp  # there is none but on Linux

    rules = pyseccomp.SyscallFilter(pyseccomp.ERRNO(1))
    for name in sorted(allowed - {"socket"}):
        if pyseccomp.resolve_syscall(pyseccomp.system_arch(), name) >= 0:  # of this kind of processor
            rules.add_rule(pyseccomp.ALLOW, name)
    for family in families:
        rules.add_rule(pyseccomp.ALLOW, "socket", pyseccomp.Arg(0, pyseccomp.EQ, family))
    with path.open("wb") as file:
        rules.export_bpf(file)
