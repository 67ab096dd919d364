"""Files that may change while the process runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

Signature = tuple[tuple[int, int, int] | None, ...]


class Watched:
    """Looks whether files have changed, and reports each state of them once, when they no longer change: a file may
    still be being written. For one thread."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = tuple(paths)
        self._seen = self._reported = _signature(self._paths)

    def changed(self, *, now: bool = False) -> bool:
        """Whether they are other files than those reported last, and the same as at the last look.

        Args:
            now: somebody says that they are complete: they count as changed.
        """
        found, before = _signature(self._paths), self._seen
        self._seen = found
        if not now and (found != before or found == self._reported):
            return False
        self._reported = found
        return True


def _signature(paths: tuple[Path, ...]) -> Signature:
    """Changes when a file does."""

    def of(path: Path) -> tuple[int, int, int] | None:
        try:
            stat = path.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    return tuple(map(of, paths))
