"""`make fuzz ARGS="--seconds 60 plan message"`: lets atheris look for inputs that break a reader's promises.

What a target accepts and what was kept before is where it begins. An input that breaks a promise is printed as a line
to keep in `tests/fuzz/corpus/<target>.hex`; the tests then replay it. With `--keep`, inputs that reach new code are
kept there too, as few and as short as they can be.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.corpus import keep, kept
from tests.fuzz.reached import worth_keeping
from tests.fuzz.targets import TARGETS, Target

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="which ones; all, if none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="add inputs that reach new code to those that are kept")
    options = parser.parse_args()
    if sys.platform != "linux":
        sys.exit("atheris is there for Linux only")
    broken = [name for name in options.targets or TARGETS if not _fuzz(name, TARGETS[name], options)]
    print(f"broken: {', '.join(broken)}" if broken else "every promise was kept")
    return len(broken)


def _fuzz(name: str, target: Target, options: argparse.Namespace) -> bool:
    print(f"-- {name}: {options.seconds} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        folders = {what: Path(temporary) / what for what in ("new", "known", "crashes")}
        for folder in folders.values():
            folder.mkdir()
        known = {*target.seeds(), *kept(name)}
        for data in known:
            (folders["known"] / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
        code = _run(
            name,
            f"-max_total_time={options.seconds}",
            f"-seed={options.seed}",
            f"-artifact_prefix={folders['crashes']}/",
            "-print_final_stats=1",
            f"-max_len={target.longest}",
            "-timeout=10",
            "-rss_limit_mb=2048",
            str(folders["new"]),
            str(folders["known"]),
        )
        for crash in folders["crashes"].iterdir():
            print(f"{name} broke on this input; keep it below a remark:\n{crash.read_bytes().hex()}")
        if options.keep:
            new = [path.read_bytes() for path in folders["new"].iterdir()]
            print(f"{name}: {keep(name, worth_keeping(target.run, known, new))} more inputs are kept")
    return code == 0


def _run(name: str, *arguments: str) -> int:
    """Exit code; of what libFuzzer says, what a person wants to know."""
    command = [sys.executable, "-m", "tests.fuzz.one", name, *arguments]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    wanted = ("stat::number_of_executed", "ERROR", "cov:", " === ", "Error", "BrokenError", "SUMMARY")
    lines = [line for line in (process.stdout + process.stderr).splitlines() if any(word in line for word in wanted)]
    covered = [line for line in lines if "cov:" in line]
    print("\n".join([line for line in lines if "cov:" not in line] + covered[-1:]), flush=True)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
